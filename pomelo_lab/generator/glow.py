"""Glow, a normalizing flow: images and latents of the same size, mapped exactly in both directions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.config.hints import Count, NonNegative, NotFingerprinted, OmitDefault, Positive, Range
from pomelo_lab.generator.base import Flow
from pomelo_lab.generator.glow_network import Coupling, GlowNetwork
from pomelo_lab.generator.glow_published import convert_published, is_published


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
        noise: deviation, in bins, of Gaussian noise that training adds to the uniform noise of dequantisation.
        latent: eps = whitened with the learned conditional prior, standard normal; raw = the split channels themselves.
        precision: of the coupling networks only, the flow itself stays float32. Images come back within 1e-5 at
            float32, about half an 8-bit step at bfloat16 (measured; its coarse steps do not cancel exactly), where
            latents agree with float32 to about 0.15.
    Shapes: images [M,C,H,W] in [0,1] <-> latents [M, C*H*W].
    Cost: one evaluation per image, encoded or decoded.
    Random: none besides the initial weights; latents are an argument.
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
        """Problems: sides that do not halve once per block, lists of the wrong length, a bound without a scale."""
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

    def rename_tensors(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return convert_published(state) if is_published(state) else state

    def cast(self) -> None:
        for module in self.network.modules():
            if isinstance(module, Coupling):
                module.net.to(self.dtype)

    # --- colours --------------------------------------------------------------------------------------------------

    @property
    def n_bins(self) -> int:
        return 2**self.n_bits

    def scaled(self, images: Tensor, offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(logits of images in [0,1], log-determinant [M] of the map from bins of width 1 to logits).

        Args: offset: position inside the bin, uniform in [0,1) for dequantisation; None = its centre, or its lower
            edge.
        """
        if offset is None:
            offset = 0.5 if self.centered else 0.0
        bins = (images * (255 / 2 ** (8 - self.n_bits)) + 1e-4).floor()  # 1e-4: k/255 times 255 may fall just below k
        y = self.margin + (1 - 2 * self.margin) * (bins + offset) / self.n_bins
        slope = (1 - 2 * self.margin) / self.n_bins / (y * (1 - y))
        return y.logit(), slope.log().flatten(1).sum(1)

    def unscaled(self, x: Tensor) -> Tensor:
        """Images from logits: in [0,1], or outside it by up to the margin."""
        y = (x.sigmoid() - self.margin) / (1 - 2 * self.margin)
        if not self.centered:
            return y
        width = 2 ** (8 - self.n_bits)
        return ((y * self.n_bins - 0.5) * width + (width - 1) / 2) / 255

    def draw_offsets(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        uniform = super().draw_offsets(shape, rng)
        if not self.noise:
            return uniform
        reach = 0.9 * self.margin / (1 - 2 * self.margin) * self.n_bins  # the logit ends at the margin
        return uniform + (self.noise * torch.randn(shape, generator=rng)).clamp(-reach, reach)

    # --- both directions ------------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Tensor:
        latents = self.network(self.scaled(images)[0])[0 if self.latent == "eps" else 1]
        return torch.cat([part.flatten(1) for part in latents], 1)

    def decode_unclamped(self, latent: Tensor) -> Tensor:
        sizes = self.latent_shapes
        parts = latent.split([math.prod(size) for size in sizes], 1)
        parts = [part.unflatten(1, size) for part, size in zip(parts, sizes, strict=True)]
        return self.unscaled(self.network(parts, reverse=True, whitened=self.latent == "eps"))

    def log_density(self, images: Tensor, offset: Tensor | None = None) -> Tensor:
        return self.encoded(images, offset)[1]

    def encoded(self, images: Tensor, offset: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(whitened latents [M,D], log density [M]) of images, as in `log_density`."""
        x, change = self.scaled(images, offset)
        eps, _, spread = self.network(x)
        latent = torch.cat([part.flatten(1) for part in eps], 1)
        return latent, (-0.5 * (latent.square() + math.log(2 * math.pi))).sum(1) + spread + change

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """(channels, height, width) of the latents of each block, finest first."""
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
