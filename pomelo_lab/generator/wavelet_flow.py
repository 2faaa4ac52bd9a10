"""A wavelet flow: the coarse image by its principal components, the details of each finer level given the coarser
one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from pomelo_lab.config.hints import Count, Natural, NonNegative, NotFingerprinted, Positive
from pomelo_lab.generator.base import Flow
from pomelo_lab.generator.wavelet_flow_network import WaveletFlowNetwork


@dataclass(kw_only=True)
class WaveletFlow(Flow):
    """Haar levels whose details are modelled given the coarser image, by bounded affine couplings; what is left by
    couplings of its components.

    Source: Yu, Derpanis & Brubaker (2020), Wavelet Flow, https://arxiv.org/abs/2010.13821. Departures: the coarsest
        image is whitened by its principal components, measured on the training images, before couplings of dense
        networks see the leading ones; details are first whitened by a Gaussian of each value given the coarser image;
        log scales are bounded; training adds Gaussian noise, after Zhai et al. (2024),
        https://arxiv.org/abs/2412.06329, small enough to be left in samples; the levels are trained together.
    Args:
        widths: channels of the networks that read the coarser image, one per level, finest first.
        hidden: channels inside the couplings, one per level.
        n_couplings: of each level.
        n_residual: residual blocks at a level's own resolution, before and after twice as many at half of it.
        n_leading: principal components of the coarsest image that couplings see; the others are independent normals.
        coarse_hidden, coarse_couplings: channels inside those couplings, and how many there are.
        scale_bound: largest log scale of a coupling.
        noise: deviation, in 8-bit steps, of Gaussian noise that training adds to the uniform noise of dequantisation.
        shares: of each training batch that a level learns from, one per level, finest first.
        temperature: deviation of the latents for which generated images are drawn, one per level and one for the
            coarsest image, finest first; 1 = the density that was trained. Latents are divided by it, so that standard
            normals give such images and every image has its latent.
        precision: of the networks only, the flow itself stays float32.
    Shapes: images [M,C,H,W] in [0,1] <-> latents [M, C*H*W], finest details first.
    Cost: one evaluation per image, encoded or decoded.
    Random: none besides the initial weights; latents are an argument.
    """

    widths: list[Count] = field(default_factory=lambda: [32, 48])
    hidden: list[Count] = field(default_factory=lambda: [32, 32])
    n_couplings: Natural = 4
    n_residual: Count = 1
    n_leading: Count = 256
    coarse_hidden: Count = 256
    coarse_couplings: Natural = 8
    scale_bound: Positive = 1.0
    noise: NonNegative = 1.0
    shares: list[Positive] = field(default_factory=lambda: [0.125, 0.25])
    temperature: list[Positive] = field(default_factory=lambda: [1.0, 1.0, 1.0])

    recipe: Annotated[str, NotFingerprinted()] = "wavelet_flow_small"

    training = "pomelo_lab.training.wavelet_flow.WaveletFlowTraining"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Problems: lists whose length does not fit `widths`, shares above 1, sides that do not halve often enough,
        more components than values."""
        n = len(given["widths"])
        for name, length in (("hidden", n), ("shares", n), ("temperature", n + 1)):
            if len(given[name]) != length:
                yield f"{name} needs {length} values for {n} widths, got {len(given[name])}"
        if any(share > 1 for share in given["shares"]):
            yield f"shares must be <= 1, got {given['shares']}"
        side, fold = given["size_px"], 2 ** (n + 1)
        if side and side % fold:
            yield f"size_px must be a multiple of {fold} (2 to the number of widths, and 2), got {side}"
        channels = given["channels"]
        if side and channels and given["n_leading"] > (size := channels * (side >> n) ** 2):
            yield f"n_leading must be <= {size}, the values of the coarsest image, got {given['n_leading']}"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network.freeze()

    def make_network(self) -> nn.Module:
        return WaveletFlowNetwork(
            self.channels,
            self.size_px,
            levels=list(zip(self.widths, self.hidden, strict=True)),
            n_residual=self.n_residual,
            n_couplings=self.n_couplings,
            coarse=(self.n_leading, self.coarse_hidden, self.coarse_couplings),
            bound=self.scale_bound,
        )

    def cast(self) -> None:
        self.network.cast(self.dtype)

    # --- colours --------------------------------------------------------------------------------------------------

    def scaled(self, images: Tensor, offset: Tensor | None = None) -> tuple[Tensor, float]:
        """(images in [0,1] mapped to [-2,2], log-determinant of the map from bins of width 1).

        Args: offset: position inside the bin of width 1, or beyond it by noise; None = its centre.
        """
        bins = (images * 255 + 1e-4).floor()  # 1e-4: k/255 times 255 may fall just below k
        x = 4 * ((bins + (0.5 if offset is None else offset)) / 256 - 0.5)
        return x, math.log(4 / 256) * math.prod(self.shape)

    def unscaled(self, x: Tensor) -> Tensor:
        return ((x / 4 + 0.5) * 256 - 0.5) / 255

    # --- both directions ------------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Tensor:
        parts = self.network(self.scaled(images)[0])[0]
        return torch.cat([part.flatten(1) / t for part, t in zip(parts, self.temperature, strict=True)], 1)

    def decode_unclamped(self, latent: Tensor) -> Tensor:
        sizes = self.latent_shapes
        parts = latent.split([math.prod(size) for size in sizes], 1)
        parts = [t * part.unflatten(1, size) for part, size, t in zip(parts, sizes, self.temperature, strict=True)]
        return self.unscaled(self.network(parts, reverse=True))

    def log_density(self, images: Tensor, offset: Tensor | None = None) -> Tensor:
        """Log density [M] of images at temperature 1, the density that was trained."""
        x, change = self.scaled(images, offset)
        return sum(level_density(*level) for level in zip(*self.network(x), strict=True)) + change

    def training_density(self, images: Tensor, offset: Tensor) -> Tensor:
        """Mean log density of images; each level's term is a mean over its share of the images."""
        x, change = self.scaled(images, offset)
        return (
            sum(level_density(*level).mean() for level in zip(*self.network(x, shares=self.shares), strict=True))
            + change
        )

    def draw_offsets(self, shape: torch.Size, rng: torch.Generator) -> Tensor:
        uniform = super().draw_offsets(shape, rng)
        return uniform + self.noise * torch.randn(shape, generator=rng) if self.noise else uniform

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """(channels, height, width) of the latents of each level, finest first, then of the coarsest image."""
        sides = [self.size_px >> (level + 1) for level in range(len(self.widths))]
        last = self.size_px >> len(self.widths)
        return [*((3 * self.channels, side, side) for side in sides), (self.channels, last, last)]


def level_density(latent: Tensor, spread: Tensor) -> Tensor:
    """Log density [M] of one level's details given the coarser image."""
    return (-0.5 * (latent.square() + math.log(2 * math.pi))).flatten(1).sum(1) + spread
