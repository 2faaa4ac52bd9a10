"""The base class of explainers that query quasi-random masks over the cells of a grid."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams, index_pairs
from pomelo_lab.config.hints import Count
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.removal import RemovalExplainer, enlarge
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class DesignExplainer(RemovalExplainer):
    """Queries the classifier for a fixed design of grid masks and computes one index per cell from the answers.

    Args:
        n_cells: cells along each side of the grid.
        n_designs: size of the design.
    """

    purpose: ClassVar[str]

    n_cells: Count = 8
    n_designs: Count = 500

    @abstractmethod
    def masks(self, image_ids: Sequence[str], streams: RandomStreams) -> Tensor:
        """Keep masks in [0,1]: [B,N,n_cells**2]."""

    @abstractmethod
    def indices(self, masks: Tensor, answer: Tensor) -> Tensor:
        """The index of every cell: float64 masks [B,N,d] and answers [B,N] -> [B,d]."""

    def explain(self, case: Case) -> Explanation:
        image, target, shape, side = case.batch.image, case.target, case.batch.image.shape[-2:], self.n_cells
        if side > min(shape):
            raise ValueError(f"explainer.n_cells must be <= {min(shape)}, the side of the images, got {side}")
        masks = self.masks(case.batch.image_id, case.streams).to(image)
        row, index = index_pairs(len(image), masks.shape[1], image.device)
        filling = case.filling(self.sampler)
        cells = masks.view(-1, side, side)

        def seen(start: int, stop: int) -> Tensor:
            return filling(row[start:stop], enlarge(cells[start:stop], shape, "nearest"), index[start:stop])

        answer = case.classifier.probability_of(seen, len(row), target[row]).view(len(image), -1)
        indices = self.indices(masks.double(), answer.to(masks.device).double()).float()
        maps = F.interpolate(indices.view(-1, 1, side, side), shape, mode="bicubic", align_corners=False)[:, 0]
        return Explanation(target=target, attribution=maps, extra={"cells": indices})

    def sobol_points(self, image_ids: Sequence[str], streams: RandomStreams, n: int, d: int) -> Tensor:
        """Draws n points of a scrambled Sobol sequence in [0,1)^d per image: float32 [B,n,d]."""
        from scipy.stats import qmc

        points = torch.empty(len(image_ids), n, d)
        for row, image_id in zip(points, image_ids, strict=True):
            seed = streams.generator(image_id, self.purpose).initial_seed() % 2**63
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The balance properties")  # n need not be a power of two here
                row.copy_(torch.from_numpy(qmc.Sobol(d, scramble=True, rng=seed).random(n)))
        return points
