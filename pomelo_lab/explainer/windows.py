"""Square windows that slide over an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Windows of one side at a grid of positions.

    top, left: int64 [rows], [columns], the first pixels of the windows. Windows may reach beyond the image.
    side: in pixels.
    shape: the sides of the image.
    """

    top: Tensor
    left: Tensor
    side: int
    shape: tuple[int, int]

    @property
    def n(self) -> int:
        """Number of windows, which are counted row by row."""
        return len(self.top) * len(self.left)

    def keep_mask(self, index: Tensor) -> Tensor:
        """The pixels outside each of M windows: int64 [M] -> bool [M,H,W]."""
        top = self.top[index.div(len(self.left), rounding_mode="floor")]
        inside = [
            (pixel >= first[:, None]) & (pixel < first[:, None] + self.side)
            for first, pixel in zip((top, self.left[index % len(self.left)]), self.pixels(), strict=True)
        ]
        return ~(inside[0][:, :, None] & inside[1][:, None])

    def mean_covering(self, grid: Tensor) -> Tensor:
        """The mean over the windows that cover a pixel, 0 where none does: a value per window [B,rows,columns] ->
        [B,H,W]."""
        weights = []
        for first, pixel in zip((self.top, self.left), self.pixels(), strict=True):
            covers = ((pixel[:, None] >= first) & (pixel[:, None] < first + self.side)).to(torch.float64)
            weights.append((covers / covers.sum(1, keepdim=True).clamp_min(1)).to(grid))
        return weights[0] @ grid @ weights[1].mT

    def pixels(self) -> list[Tensor]:
        """The positions of rows and of columns."""
        return [torch.arange(size, device=self.top.device) for size in self.shape]


def covering_starts(size: int, side: int, stride: int) -> Tensor:
    """First pixels of windows on an axis, every `stride` pixels until its end is covered: int64."""
    return torch.arange(1 + max(0, -(-(size - side) // stride))) * stride
