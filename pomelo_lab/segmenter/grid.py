"""A grid of rectangles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count
from pomelo_lab.segmenter.base import Segmenter
from pomelo_lab.segmenter.slic import too_many_segments


@dataclass(kw_only=True)
class GridSegmenter(Segmenter):
    """Rectangles in rows and columns, whatever the image shows: the control for segments that follow edges.

    Source: own. Departures: none. The grid has round(sqrt(n H/W)) rows and round(n/rows) columns, so cells are near
        squares; every pixel is in exactly one cell and the sides of cells differ by at most one pixel.
    Args: n_segments: segments to ask for. A grid has rows x columns of them (65 gives 8 x 8 on a square image).
    Shapes: image [B,C,H,W] in [0,1] -> labels int64 [B,H,W].
    Cost: a few tensor operations for all images.
    Random: none.
    Raises: ValueError when there are fewer pixels than segments asked for.
    """

    n_segments: Count = 65

    @classmethod
    def shape_problems(cls, given: Mapping[str, Any], shape: Sequence[int]) -> list[str]:
        return too_many_segments(given.get("n_segments", cls.n_segments), shape)

    def labels(self, image: Tensor) -> Tensor:
        batch, _, height, width = image.shape
        if problems := too_many_segments(self.n_segments, image.shape[-3:]):
            raise ValueError("; ".join(problems))
        rows = min(max(round((self.n_segments * height / width) ** 0.5), 1), height)
        columns = min(max(round(self.n_segments / rows), 1), width)
        row = torch.arange(height, device=image.device) * rows // height
        column = torch.arange(width, device=image.device) * columns // width
        return (row[:, None] * columns + column).expand(batch, -1, -1).contiguous()
