"""Black removal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Segments


@dataclass(kw_only=True)
class BlackSampler(BaseImageFiller):
    """Removed pixels become 0 in [0,1] (not 0 of a network's normalised input, which is gray).

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 4.1 ("black").
        Departures: none.
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W].
    Cost: no network; one tensor operation.
    Random: none besides the segments dropped.
    """

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        return torch.zeros_like(image)
