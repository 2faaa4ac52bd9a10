"""RISE: randomised input sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from pomelo_lab.batching import index_pairs
from pomelo_lab.config.hints import Count, Range
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.removal import RemovalExplainer
from pomelo_lab.types import Explanation

MASK_VALUES_AT_ONCE = 2**22  # values of one image's masks: 16 MiB


@dataclass(kw_only=True)
class RiseExplainer(RemovalExplainer):
    """The mean of random smooth masks, weighted by the target's probability for the masked image.

    Source: Petsiuk et al. (2018), https://arxiv.org/abs/1806.07421, section 3 and code (8 x 8 cells, p = 0.5; 8,000
        masks for a ResNet-50). Departures: every image has different masks, and the filler replaces masked pixels. In
        the published code they are black after normalisation.
    Args:
        n_masks: random masks per image.
        n_cells: random cells along each side.
        p_keep: probability that a cell is kept.
    Cost: one query and one fill per mask.
    Random: cells and shifts per image ("rise"), and the filler's draws.
    """

    n_masks: Count = 8000
    n_cells: Count = 8
    p_keep: Annotated[float, Range(above=0, high=1)] = 0.5

    def explain(self, case: Case) -> Explanation:
        batch, image, streams, shape = case.batch, case.batch.image, case.streams, case.batch.image.shape[-2:]
        drawn = partial(streams.uniform, batch.image_id, device=image.device)
        cells = (drawn("rise.cells", self.n_masks, self.n_cells, self.n_cells) < self.p_keep).to(image)
        shift = drawn("rise.shift", self.n_masks, 2)
        filling = case.filling(self.sampler)
        total = torch.zeros(len(image), *shape, dtype=torch.float64, device=image.device)
        for places in torch.arange(self.n_masks, device=image.device).split(
            max(1, MASK_VALUES_AT_ONCE // math.prod(shape))
        ):
            keep = self.smooth(cells[:, places], shift[:, places], shape)
            row, number = index_pairs(len(image), len(places), image.device)
            flat, index = keep.flatten(0, 1), places[number]

            def seen(start: int, stop: int, row: Tensor = row, flat: Tensor = flat, index: Tensor = index) -> Tensor:
                return filling(row[start:stop], flat[start:stop], index[start:stop])

            answer = case.classifier.probability_of(seen, len(row), case.target[row]).view(len(image), -1)
            total += (answer.to(keep)[..., None, None] * keep).sum(1)
        return Explanation(target=case.target, attribution=(total / (self.n_masks * self.p_keep)).float())

    def smooth(self, cells: Tensor, shift: Tensor, shape: tuple[int, int]) -> Tensor:
        """Enlarges cells to slightly more than the image and crops at a random offset of up to one cell: cells
        [B,n,s,s], offsets [B,n,2] -> [B,n,H,W]."""
        side = [math.ceil(size / self.n_cells) for size in shape]
        high, wide = (interpolation_matrix(self.n_cells, (self.n_cells + 1) * cell_px).to(cells) for cell_px in side)
        large = high @ cells.flatten(0, 1) @ wide.mT
        top, left = ((shift[..., axis] * cell_px).long().flatten() for axis, cell_px in enumerate(side))
        y, x = (torch.arange(size, device=cells.device) for size in shape)
        rows, columns = top[:, None] + y, left[:, None] + x
        return large[
            torch.arange(len(large), device=cells.device)[:, None, None], rows[:, :, None], columns[:, None]
        ].unflatten(0, cells.shape[:2])

    def fills(self, shape: tuple[int, int, int]) -> int:
        return self.n_masks

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return replace(super().cost(shape), queries=self.n_masks)


def interpolation_matrix(n: int, size: int) -> Tensor:
    """The matrix of linear interpolation from n values to `size`, mirrored at the ends as in scikit-image's resize:
    float64 [size,n]."""
    position = ((torch.arange(size, dtype=torch.float64) + 0.5) * n / size - 0.5).abs()
    position = torch.where(position > n - 1, 2 * (n - 1) - position, position)
    return (1 - (position[:, None] - torch.arange(n)).abs()).clamp_min(0)
