"""The base of segmenters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.config.signature import Component
from pomelo_lab.types import Segments


class Segmenter(Component, ABC):
    """Partitions images into segments 0..count-1. The count is recorded: algorithms often give fewer than asked for.

    Shapes: in image [B,C,H,W] in [0,1] -> Segments with label [B,H,W], count [B].
    Random: none; the same image always gets the same segments.
    """

    @abstractmethod
    def labels(self, image: Tensor) -> Tensor:
        """Labels of pixels: [B,C,H,W] -> int64 [B,H,W]. Any integers; `segment` renumbers them without gaps."""

    @classmethod
    def shape_problems(cls, given: Mapping[str, Any], shape: tuple[int, int, int]) -> list[str]:
        """Problems of these arguments with images of a shape (C,H,W), as texts that name the config key. They are
        asked before anything is loaded."""
        return []

    def segment(self, image: Tensor) -> Segments:
        """Segment images [B,C,H,W]."""
        label = self.labels(image)
        dense = torch.stack([torch.unique(image_label, return_inverse=True)[1] for image_label in label])
        return Segments(label=dense, count=dense.flatten(1).amax(1) + 1)
