"""Gray removal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Fraction
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Segments


@dataclass(kw_only=True)
class GraySampler(BaseImageFiller):
    """Removed pixels get one value in all channels.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 4.1 ("gray"; it does not
        say which, 0.5 fits the L2 distances it reports). Departures: none.
    Args: value: the gray, 0 = black to 1 = white.
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W].
    Cost: no network; one tensor operation.
    Random: none besides the segments dropped.
    """

    value: Fraction = 0.5

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        return torch.full_like(image, self.value)
