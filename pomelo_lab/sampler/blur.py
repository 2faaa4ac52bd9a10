"""Removal by blurring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Count, OmitDefault, Positive
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Segments


@dataclass(kw_only=True)
class BlurSampler(BaseImageFiller):
    """Removed pixels come from a Gaussian-blurred copy of the image.

    Source: Ademi, Noppel & Wressnegger, POMELO, section 4.1 ("blur"; width not stated). Separable Gaussian cut at 4
        sigma and normalised; borders are mirrored without repeating the edge pixel:
        `scipy.ndimage.gaussian_filter(mode="mirror")`. Departures: none.
    Args:
        sigma_px: standard deviation in pixels.
        radius_px: where the Gaussian ends; None = at 4 deviations. (InputIBA's games: sigma 15 in 29 taps, a radius of
            14.)
    Cost: two matrix products per image; a kernel wider than the image mirrors more than once.
    """

    sigma_px: Positive = 5.0
    radius_px: Annotated[Count | None, OmitDefault()] = None

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        height, width = image.shape[-2:]
        rows, columns = (blur_matrix(n, self.sigma_px, radius_px=self.radius_px).to(image) for n in (height, width))
        return rows @ image @ columns.mT


def blur_matrix(n: int, sigma_px: float, cut: float = 4.0, radius_px: int | None = None) -> Tensor:
    """The 1-D blur of n pixels as a matrix: float64 [n,n], rows sum to 1; the Gaussian ends at `cut` deviations, or at
    a radius in pixels."""
    radius = radius_px or max(int(cut * sigma_px + 0.5), 1)
    offset = torch.arange(-radius, radius + 1)
    weight = torch.exp(-0.5 * (offset.double() / sigma_px) ** 2)
    period = max(2 * (n - 1), 1)
    position = (torch.arange(n)[:, None] + offset) % period
    position = torch.where(position >= n, period - position, position)  # the mirror: one period is 0..n-1 and back
    return torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, position, (weight / weight.sum()).expand(n, -1))
