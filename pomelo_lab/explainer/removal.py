"""The base class of explainers that choose pixels to remove and let a filler replace them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.cost import Cost
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.sampler.base import Filler


@dataclass(kw_only=True)
class RemovalExplainer(Explainer, ABC):
    """An explainer that chooses the pixels to remove. The filler computes their replacement.

    Args: sampler: the filler. If the config leaves it out, the job's sampler is used.
    """

    gives = frozenset({"attribution"})
    sampler: Filler

    @abstractmethod
    def fills(self, shape: tuple[int, int, int]) -> int:
        """The largest number of masks that are filled for one image of `shape`."""

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        n = self.fills(shape)
        return super().cost(shape) + Cost(queries=1 + n) + self.sampler.fill_cost(n)


def cell_index(size: int, n_cells: int) -> Tensor:
    """The cell of each pixel along one axis when n_cells share `size` pixels, as in nearest-neighbour up-sampling:
    int64 [size]."""
    return (torch.arange(size) * n_cells).div(size, rounding_mode="floor")


def enlarge(mask: Tensor, shape: tuple[int, int], how: str) -> Tensor:
    """Enlarges cells to pixels, [B,k,k] -> [B,H,W], by "nearest" or "bilinear" interpolation; differentiable."""
    if how == "nearest":
        rows, columns = (cell_index(size, n).to(mask.device) for size, n in zip(shape, mask.shape[-2:], strict=True))
        return mask[:, rows][:, :, columns]
    return F.interpolate(mask[:, None], shape, mode="bilinear", align_corners=False)[:, 0]


def cell_sums(values: Tensor, n_cells: int) -> Tensor:
    """Sums over the pixels of each cell of an n_cells x n_cells grid: [B,H,W] -> [B,n_cells,n_cells]."""
    rows, columns = (F.one_hot(cell_index(size, n_cells), n_cells).to(values) for size in values.shape[-2:])
    return rows.mT @ values @ columns
