"""Glow, a normalizing flow: images and latents of the same size, mapped exactly in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.config.hints import Count, NonNegative, NotFingerprinted, OmitDefault, Positive, Range
from pomelo_lab.generator.base import Flow
from pomelo_lab.generator.glow_published import converted, is_published


@dataclass(kw_only=True)
class Glow(Flow):
    """A multi-scale flow of actnorm, invertible 1x1 convolution and coupling layers.

    Source: Kingma & Dhariwal (2018); hyper-parameters and preprocessing of the CelebA flow of Dombrowski et al. that
        POMELO uses. Departures: images are taken at the centre of their quantisation bin, so that encoding and decoding
        returns them (`centered`).
    Args:
        n_flows: flow steps per block; a list has a number for each block, finest first.
        n_blocks: blocks; each halves the resolution, all but the last split half of the channels off.
        hidden: channels inside the coupling networks; a list has a number for each block, finest first.
        coupling: additive (the published flow), or affine, which fits better and can overflow when it decodes latents
            far from any image.
        n_bits: of the colours that are modelled; fewer bits throw away the finest shades.
        centered: encode the centre of a bin; False encodes its lower edge, as the published code does, and darkens by
            half a bin.
        margin: colours are squeezed to [margin, 1-margin] before the logit.
        scale_bound: largest log scale of an affine coupling, which then may also enlarge; None = the published sigmoid,
            which only shrinks.
        noise: deviation of Gaussian noise that training adds beside the uniform one of the bins, in bins.
        latent: eps = whitened with the learned conditional prior, standard normal; raw = the split channels themselves.
        precision: of the coupling networks only, the flow itself stays float32. Images come back within 1e-5 at
            float32, about half an 8-bit step at bfloat16 (measured; its coarse steps do not cancel exactly), where
            latents agree with float32 to about 0.15.
    Shapes: images [M,C,H,W] in [0,1] <-> latents [M, C*H*W].
    Cost: one evaluation per image, encoded or decoded.
    """

    n_flows: Count | list[Count] = 6
    n_blocks: Count = 4
    hidden: Count | list[Count] = 64
    coupling: Literal["additive", "affine"] = "additive"
    scale_bound: Annotated[Positive | None, OmitDefault()] = None
    noise: Annotated[NonNegative, OmitDefault()] = 0.0
    n_bits: Annotated[int, Range(low=1, high=8)] = 8
    centered: bool = True
    margin: Annotated[float, Range(low=0, below=0.5)] = 0.05
    latent: Literal["eps", "raw"] = "eps"

    recipe: Annotated[str, NotFingerprinted()] = "glow_small"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Images that cannot be halved once per block."""
        side, fold = given["size_px"], 2 ** given["n_blocks"]
        if side and side % fold:
            yield f"size_px must be a multiple of {fold} (2 to the power of n_blocks), got {side}"
        for key in ("n_flows", "hidden"):
            if isinstance(given[key], list) and len(given[key]) != given["n_blocks"]:
                yield f"{key} must be a number or a list of {given['n_blocks']} (n_blocks), got {given[key]}"
        if given["scale_bound"] is not None and given["coupling"] != "affine":
            yield f"scale_bound is for coupling=affine, got coupling={given['coupling']}"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network.freeze()

    def make_network(self) -> nn.Module:
        n_flows, hidden = (
            [size] * self.n_blocks if isinstance(size, int) else size for size in (self.n_flows, self.hidden)
        )
        return GlowNetwork(self.channels, n_flows, hidden, self.coupling == "affine", self.scale_bound)

    def translated(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return converted(state) if is_published(state) else state

    def cast(self) -> None:
        for module in self.network.modules():
            if isinstance(module, Coupling):
                module.net.to(self.dtype)

    # --- colours --------------------------------------------------------------------------------------------------

    @property
    def n_bins(self) -> int:
        return 2**self.n_bits

    def scaled(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Images in [0,1] -> what the flow models, and the log-determinant [M] of the change from bins of width 1 to
        it.

        Args: noise: uniform in [0,1), the place inside the bin (dequantisation); None = its centre, or its lower edge.
        """
        offset = (0.5 if self.centered else 0.0) if noise is None else noise
        bins = (images * (255 / 2 ** (8 - self.n_bits)) + 1e-4).floor()  # 1e-4: k/255 times 255 may fall just below k
        y = self.margin + (1 - 2 * self.margin) * (bins + offset) / self.n_bins
        slope = (1 - 2 * self.margin) / self.n_bins / (y * (1 - y))
        return y.logit(), slope.log().flatten(1).sum(1)

    def unscaled(self, x: Tensor) -> Tensor:
        """What the flow models -> images, in [0,1] or up to the margin outside."""
        y = (x.sigmoid() - self.margin) / (1 - 2 * self.margin)
        if not self.centered:
            return y
        width = 2 ** (8 - self.n_bits)
        return ((y * self.n_bins - 0.5) * width + (width - 1) / 2) / 255

    def drawn_places(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        uniform = super().drawn_places(shape, rng)
        if not self.noise:
            return uniform
        reach = 0.9 * self.margin / (1 - 2 * self.margin) * self.n_bins  # the logit ends at the margin
        return uniform + (self.noise * torch.randn(shape, generator=rng)).clamp(-reach, reach)

    # --- both directions ------------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Tensor:
        """[M,C,H,W] -> latents [M,D]."""
        latents = self.network(self.scaled(images)[0])[0 if self.latent == "eps" else 1]
        return torch.cat([part.flatten(1) for part in latents], 1)

    def unclamped(self, latent: Tensor) -> Tensor:
        sizes = self.latent_shapes
        parts = latent.split([math.prod(size) for size in sizes], 1)
        parts = [part.unflatten(1, size) for part, size in zip(parts, sizes, strict=True)]
        return self.unscaled(self.network(parts, reverse=True, whitened=self.latent == "eps"))

    def log_density(self, images: Tensor, place: Tensor | None = None) -> Tensor:
        return self.encoded(images, place)[1]

    def encoded(self, images: Tensor, place: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(whitened latents [M,D], log p [M]) of images whose colours lie at a place inside their bins."""
        x, change = self.scaled(images, place)
        eps, _, spread = self.network(x)
        latent = torch.cat([part.flatten(1) for part in eps], 1)
        return latent, (-0.5 * (latent.square() + math.log(2 * math.pi))).sum(1) + spread + change

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """Channels and sides of the latents that each block gives, finest first."""
        shapes, channels, side = [], self.channels, self.size_px
        for block in range(self.n_blocks):
            channels, side = channels * 4, side // 2
            if block < self.n_blocks - 1:
                channels //= 2
            shapes.append((channels, side, side))
        return shapes

    def generate(self, noise: Tensor) -> Tensor:
        if self.latent != "eps":
            raise ValueError("generator.latent=raw has no standard normal to sample from: use generator.latent=eps")
        return super().generate(noise)


class MixedNetwork(nn.Module):
    """A network with 1x1 convolutions whose matrices can be kept."""

    def freeze(self) -> None:
        """Keep the matrices of the 1x1 convolutions and their inverses, for many encodings and decodings with the same
        weights."""
        for module in self.modules():
            if isinstance(module, Mix):
                module.freeze()

    def thaw(self) -> None:
        """Compute them anew at every call, for training."""
        for module in self.modules():
            if isinstance(module, Mix):
                module.kept = module.kept_inverse = None


class GlowNetwork(MixedNetwork):
    """Blocks of flow steps: x [M,C,H,W] -> latents (whitened and raw, one per block) and log-determinants [M], or
    back."""

    def __init__(
        self, channels: int, n_flows: Sequence[int], hidden: Sequence[int], affine: bool, bound: float | None = None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for block, (steps, width) in enumerate(zip(n_flows, hidden, strict=True)):
            channels *= 4
            self.blocks.append(Block(channels, steps, width, affine, bound, split=block < len(hidden) - 1))
            channels //= 2

    def forward(self, x: Any, reverse: bool = False, whitened: bool = True) -> Any:
        if reverse:
            latents, out = x, None
            for block, latent in zip(reversed(self.blocks), reversed(latents), strict=True):
                out = block.reverse(out, latent, whitened)
            return out
        eps, raw, total = [], [], 0.0
        for block in self.blocks:
            x, whitened_part, raw_part, spread = block(x)
            eps.append(whitened_part)
            raw.append(raw_part)
            total = total + spread
        return eps, raw, total


class Block(nn.Module):
    """Squeeze, flow steps, and a Gaussian prior for the half that leaves here, conditional on the half that goes on."""

    def __init__(
        self, channels: int, n_flows: int, hidden: int, affine: bool, bound: float | None, split: bool
    ) -> None:
        super().__init__()
        self.split = split
        flows = [[ActNorm(channels), Mix(channels), Coupling(channels, hidden, affine, bound)] for _ in range(n_flows)]
        self.flows = nn.ModuleList(nn.ModuleList(flow) for flow in flows)
        leaves = channels // 2 if split else channels
        self.prior = ZeroConv(channels - leaves if split else channels, 2 * leaves)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, total = F.pixel_unshuffle(x, 2), 0.0
        for flow in self.flows:
            for layer in flow:
                x, spread = layer(x)
                total = total + spread
        x, z = x.chunk(2, 1) if self.split else (torch.zeros_like(x), x)
        mean, log_sd = self.prior(x).chunk(2, 1)
        return x, (z - mean) * (-log_sd).exp(), z, total - log_sd.flatten(1).sum(1)

    def reverse(self, x: Tensor | None, latent: Tensor, whitened: bool) -> Tensor:
        if whitened:
            mean, log_sd = self.prior(torch.zeros_like(latent) if x is None else x).chunk(2, 1)
            latent = mean + latent * log_sd.exp()
        out = latent if x is None else torch.cat([x, latent], 1)
        for flow in reversed(self.flows):
            for layer in reversed(flow):
                out = layer.reverse(out)
        return F.pixel_shuffle(out, 2)


class ActNorm(nn.Module):
    """Scale and shift per channel, set by the first training batch to zero mean and unit deviation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("ready", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.ready:
            with torch.no_grad():
                self.loc.copy_(-x.mean((0, 2, 3), keepdim=True))
                self.log_scale.copy_(-(x.std((0, 2, 3), keepdim=True) + 1e-6).log())
                self.ready.fill_(1)
        return self.log_scale.exp() * (x + self.loc), (self.log_scale.sum() * x.shape[2] * x.shape[3]).expand(len(x))

    def reverse(self, x: Tensor) -> Tensor:
        return x * (-self.log_scale).exp() - self.loc


class Mix(nn.Module):
    """Invertible 1x1 convolution, its matrix as permutation times lower times upper triangle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation.contiguous())
        self.register_buffer("sign", diagonal.sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.register_buffer("kept", None, persistent=False)
        self.register_buffer("kept_inverse", None, persistent=False)

    def matrix(self) -> Tensor:
        identity = torch.eye(len(self.lower), dtype=self.lower.dtype, device=self.lower.device)
        diagonal = torch.diag(self.sign.to(identity) * self.log_diagonal.exp())
        return self.permutation.to(identity) @ (self.lower.tril(-1) + identity) @ (self.upper.triu(1) + diagonal)

    def inverse(self) -> Tensor:
        return torch.linalg.inv(self.matrix().double()).to(self.lower.dtype)

    def freeze(self) -> None:
        self.kept, self.kept_inverse = self.matrix().detach(), self.inverse().detach()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        matrix = self.matrix() if self.kept is None else self.kept
        return F.conv2d(x, matrix[:, :, None, None]), (self.log_diagonal.sum() * x.shape[2] * x.shape[3]).expand(len(x))

    def reverse(self, x: Tensor) -> Tensor:
        matrix = self.inverse() if self.kept_inverse is None else self.kept_inverse
        return F.conv2d(x, matrix[:, :, None, None])


class Coupling(nn.Module):
    """The second half of the channels is shifted (and scaled) by a network of the first."""

    def __init__(self, channels: int, hidden: int, affine: bool, bound: float | None = None) -> None:
        super().__init__()
        self.affine, self.bound = affine, bound
        self.net = nn.Sequential(
            nn.Conv2d(channels // 2, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            ZeroConv(hidden, channels if affine else channels // 2),
        )
        for layer in (self.net[0], self.net[2]):
            nn.init.normal_(layer.weight, 0, 0.05)
            nn.init.zeros_(layer.bias)

    def change(self, a: Tensor) -> tuple[Tensor | None, Tensor]:
        """(log scale, shift) for the second half."""
        out = self.net(a.to(self.net[0].weight.dtype)).float()
        if not self.affine:
            return None, out
        raw, shift = out.chunk(2, 1)
        return F.logsigmoid(raw + 2) if self.bound is None else bounded(raw, self.bound), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        log_scale, shift = self.change(a)
        if log_scale is None:
            return torch.cat([a, b + shift], 1), x.new_zeros(len(x))
        return torch.cat([a, (b + shift) * log_scale.exp()], 1), log_scale.flatten(1).sum(1)

    def reverse(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        log_scale, shift = self.change(a)
        return torch.cat([a, (b if log_scale is None else b * (-log_scale).exp()) - shift], 1)


class ZeroConv(nn.Module):
    """3x3 convolution that starts at zero, with a learned gain per channel; ones around the border tell it where the
    image ends."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3)
        self.gain = nn.Parameter(torch.zeros(1, after, 1, 1))
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (1, 1, 1, 1), value=1.0)) * (3 * self.gain).exp()


def bounded(raw: Tensor, bound: float) -> Tensor:
    """A log scale in (-bound, bound), near 0 `raw` itself."""
    return bound * torch.tanh(raw / bound)
