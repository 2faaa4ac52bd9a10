"""The diffusion autoencoder: an image as a semantic code, and noise that holds the details."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import in_full_rows
from pomelo_lab.compat import ensure
from pomelo_lab.config.hints import Count, NotFingerprinted
from pomelo_lab.generator.diffusion import Denoiser, decode, encode, encode_as_published, split_output
from pomelo_lab.generator.diffusion_model import DiffusionModel

DEPTH = 0.98  # share of the schedule that is inverted: at its very end a cosine schedule's steps cannot be


@dataclass(kw_only=True)
class DiffusionAutoencoder(DiffusionModel):
    """A semantic encoder and a U-Net conditioned on its code, trained together to remove noise.

    Source: Preechakul et al. (2022), https://arxiv.org/abs/2111.15640 (diffusion autoencoders), as GCD uses it.
        Departures: `unshuffle`, and in the small presets v-prediction on a cosine schedule, a flattened head of the
            encoder and more of the noisiest timesteps in training.
    Args:
        code: entries of the semantic code.
        encoder_widths: channels of the encoder's levels; the original has one level more than the U-Net.
        encoder_attention: its levels with self-attention, 0 = the finest.
        encoder_head: what makes a vector of the encoder's last map: pool = global average pooling (the original),
            flatten = a linear map of all positions, for small images, whose details an average would lose.
        conditioning: adagn = the code scales the group norms of every residual block after the time has scaled and
            shifted them (the original); additive = the code is added to the time embedding.
        The others as in DiffusionModel.
    Shapes: images [M,C,H,W] in [0,1] -> codes [M,code]; with them noise [M,C,H,W] -> images.
    Cost: one evaluation of the encoder per image, one of the U-Net per image and step.
    Random: none besides the initial weights; noise is an argument.
    """

    code: Count = 128
    encoder_widths: list[int] = field(default_factory=lambda: [32, 64, 128, 128])
    encoder_attention: list[int] = field(default_factory=lambda: [2])
    encoder_head: Literal["pool", "flatten"] = "flatten"
    conditioning: Literal["adagn", "additive"] = "adagn"

    recipe: Annotated[str, NotFingerprinted()] = "diffusion_autoencoder_small"

    training = "pomelo_lab.training.diffusion_autoencoder.DiffusionAutoencoderTraining"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Problems of the arguments of the U-Net and of the encoder."""
        yield from super().config_problems(given)
        widths, groups = given["encoder_widths"], given["norm_groups"]
        for width in widths:
            if width % groups:
                yield f"encoder_widths must be multiples of norm_groups={groups}, got {width}"
        for level in given["encoder_attention"]:
            if not 0 <= level < len(widths):
                yield f"encoder_attention names levels 0..{len(widths) - 1}, got {level}"
        side, fold = given["size_px"], given["unshuffle"] * 2 ** (len(widths) - 1)
        if side and side % fold:
            yield (
                f"size_px must be a multiple of {fold} (unshuffle and {len(widths)} levels of the encoder), got {side}"
            )

    def make_network(self) -> nn.Module:
        ensure()
        from pomelo_lab.generator.diffusion_autoencoder_network import AutoencodingUNet, SemanticEncoder

        side = self.size_px // self.unshuffle // 2 ** (len(self.encoder_widths) - 1)
        encoder = SemanticEncoder(
            channels=self.channels * self.unshuffle**2,
            widths=self.encoder_widths,
            n_blocks=self.layers_per_block,
            attention=self.encoder_attention,
            head_dim=self.head_dim,
            groups=self.norm_groups,
            dropout=self.dropout,
            code=self.code,
            side=side if self.encoder_head == "flatten" else None,
        )
        more = {"resnet_time_scale_shift": "scale_shift"} if self.conditioning == "adagn" else {}
        return AutoencodingUNet(encoder, self.unet_model(**more), self.code, self.conditioning)

    # --- code and noise -------------------------------------------------------------------------------------------

    def one_forward(self, images: Tensor) -> Tensor:
        return self.output(images, 1, images.new_zeros(len(images), self.code))

    def encoded(self, images: Tensor) -> Tensor:
        """Semantic codes [M,code] of images [M,C,H,W] in [0,1]; differentiable, all M at once."""
        x = self.scaled(images).to(self.dtype)
        return in_full_rows(self.network.code, self.folded(x)).float()

    def denoiser(self, code: Tensor) -> Denoiser:
        """The denoiser of rows with these codes [M,code]."""

        def denoise(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
            return split_output(self.output(x, t, code), x, float(self.alphas_cumprod[t]), self.predicts)

        return denoise

    def infer_noise(
        self, images: Tensor, code: Tensor, n_steps: int, fixed_point: int = 2, published: bool = False
    ) -> Tensor:
        """The noise [M,C,H,W] from which `render` restores images [M,C,H,W] in [0,1], given their codes [M,code].

        Args: published: as the original's code does it, with leading timesteps and clamping; `render` then restores the
            images only approximately.
        Cost: n_steps * (1 + fixed_point) evaluations per image; published: n_steps.
        """
        x, denoise = self.scaled(images), self.denoiser(code)
        if published:
            return encode_as_published(denoise, x, self.respace(n_steps, "leading"))
        return encode(denoise, x, self.respace(n_steps, depth=DEPTH), fixed_point=fixed_point)[-1]

    def render(self, code: Tensor, noise: Tensor, n_steps: int, published: bool = False) -> Tensor:
        """Images [M,C,H,W] in [0,1] from codes and noise; differentiable, all M at once.

        Cost: n_steps evaluations per image.
        """
        schedule = self.respace(n_steps, "leading") if published else self.respace(n_steps, depth=DEPTH)
        return self.unscaled(decode(self.denoiser(code), noise, schedule, clip=published))

    def sample_grid(self, images: Tensor) -> Tensor:
        """The first half of the images, then the same images rendered from their codes and one common noise."""
        originals = images[: len(images) // 2]
        noise = (
            torch.randn(1, *self.shape, generator=torch.Generator().manual_seed(0))
            .to(images.device)
            .expand(originals.shape)
        )
        return torch.cat([originals, self.render(self.encoded(originals), noise, min(20, self.n_timesteps))])
