"""The network of the diffusion autoencoder: a semantic encoder, and a U-Net conditioned on its code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers.models.resnet import ResnetBlock2D


class EncoderBlock(nn.Module):
    """Group norm, SiLU, one convolution, and a skip connection. With `down`, average pooling halves the resolution."""

    def __init__(self, n_in: int, n_out: int, groups: int, dropout: float, down: bool = False) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, n_in)
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.skip = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(self.pool(x)) + self.dropout(self.conv(self.pool(F.silu(self.norm(x)))))


class SemanticEncoder(nn.Module):
    """Images [B,C,H,W] to codes [B,D]: half a U-Net without time, then global average pooling or a flattened map.

    Args:
        widths: channels of the levels, each at half the resolution of the one before.
        n_blocks: residual blocks per level.
        attention: levels whose blocks are followed by self-attention; the middle always is.
        head_dim: channels per attention head; None = one head.
        groups: of the group norms.
        code: entries of the code.
        side: of the last map, to flatten it; None = pooling.
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int],
        n_blocks: int,
        attention: Sequence[int],
        head_dim: int | None,
        groups: int,
        dropout: float,
        code: int,
        side: int | None = None,
    ) -> None:
        super().__init__()
        from diffusers.models.attention_processor import Attention

        def attend(width: int) -> nn.Module:
            size = head_dim or width
            return Attention(
                width, heads=width // size, dim_head=size, norm_num_groups=groups, bias=True, residual_connection=True
            )

        layers, width = [nn.Conv2d(channels, widths[0], 3, padding=1)], widths[0]
        for level, wide in enumerate(widths):
            for _ in range(n_blocks):
                layers.append(EncoderBlock(width, wide, groups, dropout))
                layers += [attend(wide)] if level in attention else []
                width = wide
            if level < len(widths) - 1:
                layers.append(EncoderBlock(width, width, groups, dropout, down=True))
        layers += [
            EncoderBlock(width, width, groups, dropout),
            attend(width),
            EncoderBlock(width, width, groups, dropout),
        ]
        self.body = nn.Sequential(*layers)
        self.norm = nn.GroupNorm(groups, width)
        self.flat = side is not None
        self.head = nn.Linear(width * side**2 if side else width, code)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.norm(self.body(x)))
        return self.head(h.flatten(1) if self.flat else h.mean((2, 3)))


class AdaGNBlock(nn.Module):
    """A residual block of diffusers whose second group norm is scaled and shifted by the time, and then scaled by the
    code.

    h -> [GN(h) (1 + scale_t) + shift_t] (1 + scale_z), as the reference implementation of the diffusion autoencoder has
    it: no shift from the code, and a last convolution that starts at zero. The block gets time and code side by side,
        as one vector.
    """

    def __init__(self, block: ResnetBlock2D, time: int, code: int) -> None:
        super().__init__()
        self.block, self.sizes = block, (time, code)
        self.code_proj = nn.Linear(code, block.out_channels)
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        block, act = self.block, self.block.nonlinearity
        time, code = temb.split(self.sizes, 1)
        h = act(block.norm1(x))
        for resize in (block.upsample, block.downsample):
            if resize is not None:
                x, h = resize(x), resize(h)
        scale, shift = block.time_emb_proj(act(time))[:, :, None, None].chunk(2, 1)
        h = block.norm2(block.conv1(h)) * (1 + scale) + shift
        h = act(h * (1 + self.code_proj(act(code))[:, :, None, None]))
        h = block.conv2(block.dropout(h))
        return ((x if block.conv_shortcut is None else block.conv_shortcut(x)) + h) / block.output_scale_factor


class Beside(nn.Module):
    """A module whose output is padded with zeros. The sum of two such modules is their concatenation."""

    def __init__(self, inner: nn.Module, before: int = 0, behind: int = 0) -> None:
        super().__init__()
        self.inner, self.zeros = inner, (before, behind)

    def forward(self, *given: Tensor) -> Tensor:
        return F.pad(self.inner(*given), self.zeros)


class AutoencodingUNet(nn.Module):
    """A semantic encoder and a U-Net (diffusers' UNet2DModel with scale_shift blocks for adagn) that is told its code.

    adagn: an `AdaGNBlock` in place of every residual block. additive: the code, mapped to the width of the time
        embedding, is added to it.
    """

    def __init__(self, encoder: SemanticEncoder, unet: nn.Module, code: int, conditioning: str) -> None:
        super().__init__()
        from diffusers.models.resnet import ResnetBlock2D

        self.encoder, self.unet = encoder, unet
        time = unet.config.block_out_channels[0] * 4
        if conditioning == "additive":
            unet.class_embedding = nn.Linear(code, time)
            return
        unet.time_embedding = Beside(unet.time_embedding, behind=code)
        unet.class_embedding = Beside(nn.Identity(), before=time)
        for name, block in [
            (name, module) for name, module in unet.named_modules() if isinstance(module, ResnetBlock2D)
        ]:
            parent, _, last = name.rpartition(".")
            setattr(unet.get_submodule(parent), last, AdaGNBlock(block, time, code))

    def forward(self, x: Tensor, t: Tensor, code: Tensor) -> Tensor:
        return self.unet(x, t, class_labels=code.to(x.dtype)).sample

    def code(self, x: Tensor) -> Tensor:
        """Codes [M,D] of folded images."""
        return self.encoder(x)
