"""The two-stage in-painting network and the critic it is trained against."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Convolution = Literal["gated", "partial"]


class GatedConv(nn.Module):
    """A convolution that learns, pixel by pixel, what to let through (Yu et al. 2019, section 3.1)."""

    def __init__(self, n_in: int, n_out: int, size: int = 3, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, 2 * n_out, size, stride, dilation * (size // 2), dilation)

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        feature, gate = self.conv(x).chunk(2, 1)
        return F.elu(feature) * gate.sigmoid(), known


class PartialConv(nn.Module):
    """A convolution of the known pixels only, rescaled by their share; what it reached counts as known (Liu et al.
    2018, eq. 1 and 2)."""

    def __init__(self, n_in: int, n_out: int, size: int = 3, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, size, stride, dilation * (size // 2), dilation)
        self.register_buffer("ones", torch.ones(1, 1, size, size), persistent=False)

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        c = self.conv
        with torch.no_grad():
            n_known = F.conv2d(known, self.ones.to(known), None, c.stride, c.padding, c.dilation)
            share = (self.ones.numel() / n_known.clamp_min(1)).to(x.dtype)
            reached = (n_known > 0).to(x.dtype)
        response = F.conv2d(x * known, c.weight, None, c.stride, c.padding, c.dilation) * share + c.bias[:, None, None]
        return F.elu(response * reached), reached


KINDS = {"gated": GatedConv, "partial": PartialConv}


class Body(nn.Module):
    """Convolutions one after another; with `up`, the result is first doubled in size."""

    def __init__(self, *layers: nn.Module, up: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.up = up

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        if self.up:
            x, known = (F.interpolate(tensor, scale_factor=2.0, mode="nearest") for tensor in (x, known))
        for layer in self.layers:
            x, known = layer(x, known)
        return x, known


class Stage(nn.Module):
    """One encoder and decoder: image and hole in, image out; dilated convolutions in the middle see far."""

    def __init__(
        self, n_in: int, n_out: int, width: int, n_down: int, dilations: list[int], kind: Convolution, attention: bool
    ) -> None:
        super().__init__()
        conv = KINDS[kind]
        widths = [width * 2**level for level in range(n_down + 1)]
        deep = widths[-1]

        def encoder() -> Body:
            down = [layer for a, b in pairwise(widths) for layer in (conv(a, b, stride=2), conv(b, b))]
            return Body(conv(n_in, width, 5), *down)

        self.encode = encoder()
        self.middle = Body(*(conv(deep, deep, dilation=d) for d in dilations))
        self.attend = encoder() if attention else None
        self.join = conv(2 * deep if attention else deep, deep)
        self.decode = nn.ModuleList([Body(conv(b, a), conv(a, a), up=True) for a, b in pairwise(widths)][::-1])
        self.out = nn.Conv2d(width, n_out, 3, padding=1)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        y, reached = self.middle(*self.encode(x, known))
        if self.attend is not None:
            other, also_reached = self.attend(x, known)
            y, reached = torch.cat([y, contextual_attention(other, known)], 1), torch.maximum(reached, also_reached)
        y, reached = self.join(y, reached)
        for body in self.decode:
            y, reached = body(y, reached)
        return self.out(y).tanh()


class InpaintingNetwork(nn.Module):
    """Coarse, then fine: [M,C,H,W] in [-1,1] and hole [M,1,H,W] (1 = to fill) -> the filled image, in the hole and
    elsewhere."""

    def __init__(
        self,
        channels: int,
        width: int,
        n_down: int,
        dilations: list[int],
        unshuffle: int,
        kind: Convolution,
        attention: bool,
    ) -> None:
        super().__init__()
        folded = unshuffle**2
        self.unshuffle = unshuffle
        n_in, n_out = (channels + 1) * folded, channels * folded
        shape = {"width": width, "n_down": n_down, "dilations": dilations, "kind": kind}
        self.coarse = Stage(n_in, n_out, **shape, attention=False)
        self.fine = Stage(n_in, n_out, **shape, attention=attention)

    def forward(self, x: Tensor, hole: Tensor) -> Tensor:
        return self.stages(x, hole)[1]

    def stages(self, x: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """(coarse result, fine result). Pixels of x inside the hole are ignored."""
        known = 1 - F.max_pool2d(hole, self.unshuffle) if self.unshuffle > 1 else 1 - hole
        first = self.run_stage(self.coarse, torch.where(hole > 0, 0, x), hole, known)
        second = self.run_stage(self.fine, torch.where(hole > 0, first, x), hole, known)
        return first, second

    def run_stage(self, stage: Stage, x: Tensor, hole: Tensor, known: Tensor) -> Tensor:
        x = torch.cat([x, hole], 1)
        if self.unshuffle == 1:
            return stage(x, known)
        return F.pixel_shuffle(stage(F.pixel_unshuffle(x, self.unshuffle), known), self.unshuffle)


def contextual_attention(feature: Tensor, known: Tensor, size: int = 3, scale: float = 10.0) -> Tensor:
    """Rebuild every position of a feature map from the known positions with similar surroundings.

    Source: Yu et al. (2018), https://arxiv.org/abs/1801.07892, section 4.1: cosine similarity of patches, softmax over
        the known ones, overlapping patches averaged. Departures: at the features' own resolution (the published code
        halves it) and without its propagation.
    Shapes: feature [M,D,h,w], known [M,1,H,W] -> [M,D,h,w].
    Cost: h*w squared similarities per image.
    """
    h, w = feature.shape[2:]
    patch = F.unfold(feature, size, padding=size // 2)  # [M,D*size^2,h*w]
    unit = F.normalize(patch, dim=1, eps=1e-4)
    is_known = F.interpolate(known.float(), (h, w), mode="area").flatten(1) > 0.5  # [M,h*w]
    is_known = is_known | ~is_known.any(1, keepdim=True)  # nothing known: attend everywhere
    similarity = (unit.transpose(1, 2) @ unit).float() * scale  # [M,h*w,h*w]: position, source
    share = similarity.masked_fill(~is_known[:, None], -1e4).softmax(2).to(patch.dtype)
    rebuilt = F.fold(patch @ share.transpose(1, 2), (h, w), size, padding=size // 2)
    covers = F.fold(torch.ones_like(patch[:1, : size**2]), (h, w), size, padding=size // 2)
    return rebuilt / covers


class Critic(nn.Module):
    """A spectrally normalised patch discriminator (Yu et al. 2019, section 3.3): how real each region looks.

    Shapes: images [M,C,H,W] in [-1,1], hole [M,1,H,W] -> [M,1,h,w].
    """

    def __init__(self, channels: int, width: int, n_layers: int = 3) -> None:
        super().__init__()
        widths = [channels + 1, *(width * min(2**i, 4) for i in range(n_layers))]
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(a, b, 5, 2, 2)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.utils.parametrizations.spectral_norm(nn.Conv2d(widths[-1], 1, 3, 1, 1)))

    def forward(self, images: Tensor, hole: Tensor) -> Tensor:
        return self.layers(torch.cat([images, hole], 1))
