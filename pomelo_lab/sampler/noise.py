"""Removal by noise."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Fraction, NonNegative
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Segments


@dataclass(kw_only=True)
class NoiseSampler(BaseImageFiller):
    """Removed pixels become Gaussian noise, one noise image per image, clamped to [0,1].

    Source: own; noise as a reference value is common (e.g. Chang et al. 2019, https://arxiv.org/abs/1807.08024).
        Departures: none.
    Args:
        mean: mean of the noise before clamping.
        sigma: standard deviation of the noise before clamping; pixel values lie in [0,1].
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W].
    Cost: no network.
    Random: one normal draw per value and image ("noise_base"), drawn on the CPU so that it is the same on every device.
    """

    mean: Fraction = 0.5
    sigma: NonNegative = 0.2

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        noise = streams.normal(image_ids, "noise_base", *image.shape[1:], device=image.device)
        return noise.mul_(self.sigma).add_(self.mean).clamp_(0, 1)
