"""Removal by blurring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Count, OmitDefault, Positive
from pomelo_lab.image_arithmetic import blur
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Segments


@dataclass(kw_only=True)
class BlurSampler(BaseImageFiller):
    """Removed pixels come from a Gaussian-blurred copy of the image.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 4.1 ("blur"; width not
        stated). Separable Gaussian cut at 4 sigma and normalised; borders are mirrored without repeating the edge
        pixel: `scipy.ndimage.gaussian_filter(mode="mirror")`. Departures: none.
    Args:
        sigma_px: standard deviation in pixels.
        radius_px: where the Gaussian ends; None = at 4 deviations. (InputIBA's games: sigma 15 in 29 taps, a radius of
            14.)
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W].
    Cost: two matrix products per image; a kernel wider than the image mirrors more than once.
    Random: none besides the segments dropped.
    """

    sigma_px: Positive = 5.0
    radius_px: Annotated[Count | None, OmitDefault()] = None

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        return blur(image, self.sigma_px, radius_px=self.radius_px)
