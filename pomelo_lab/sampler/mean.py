"""Removal by the mean colour of each segment."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Segments


@dataclass(kw_only=True)
class MeanSampler(BaseImageFiller):
    """Removed pixels get the mean colour of their segment: the lime package's default (hide_color=None).

    Source: Ribeiro et al. (2016), https://github.com/marcotcr/lime; Ademi, Noppel & Wressnegger, POMELO,
        https://intellisec.de/research/pomelo, section 4.1 ("mean"). Departures: means are rounded when stored (lime
        truncates uint8 images and does not round float images).
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W].
    Cost: no network; one sum over the pixels of each segment.
    Random: none besides the segments dropped.
    Raises: ValueError without segments.
    """

    needs = frozenset({"segments"})

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        if segments is None:
            raise ValueError("sampler=mean fills each segment with its mean colour: it needs segments, got None")
        sums = segments.sums(image.double())
        sizes = segments.sums(image.new_ones(len(image), 1, *image.shape[2:]).double())
        return segments.spread(sums / sizes.clamp_min(1)).to(image.dtype)
