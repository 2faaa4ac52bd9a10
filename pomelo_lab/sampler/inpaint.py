"""Removed segments filled by a feed-forward in-painter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.cost import Cost
from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.sampler.base import Filler, Filling
from pomelo_lab.types import Segments


@dataclass(kw_only=True)
class InpaintSampler(Filler):
    """Removed pixels are predicted from the kept ones by a trained in-painter.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, sections 3.1 and 3.3 (DeepFill): f = G(m, x), put
        where m removed. Departures: the hole is where the mask keeps less than half; the published code draws that line
        once for a whole batch.
    Args: generator: the in-painter. If the config leaves it out, the job's generator is used.
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W].
    Cost: one evaluation per fill.
    Random: none besides the segments dropped.
    """

    context: ClassVar[str] = "mask"

    generator: Inpainter

    def filling(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None = None
    ) -> Filling:
        return Filling(image, lambda row, keep, index: self.generator.fill_rows(image, row, keep))

    def fill_cost(self, n: int) -> Cost:
        return Cost(evaluations=n)
