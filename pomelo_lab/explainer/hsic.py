"""HSIC: attribution by the statistical dependence between the answer and keeping a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Count, Positive
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.design import DesignExplainer


@dataclass(kw_only=True)
class HSICExplainer(DesignExplainer):
    """The Hilbert-Schmidt independence criterion between each cell's mask bit and the target's probability.

    Source: Novello et al. (2022), https://arxiv.org/abs/2206.06219, and the code in xplique (8 x 8 cells, 500 masks;
        its documentation: 7 x 7, 1,500). With the Dirac-like kernel on bits the criterion is (2 / n) x_c' L x_c, where
        x_c are the centred bits and L is the Gaussian kernel of the answers. Departures: a scrambled Sobol sequence
        (xplique: unscrambled); the filler replaces masked cells (xplique: black).
    Args:
        width: width of the Gaussian kernel: "median" of the answers, as in the code, or "median_pairwise", the median
            distance between answers.
        least_width: lower bound of the width, so that answers near zero have a kernel.
    Shapes: attribution [B,H,W], the cells enlarged by bicubic interpolation; extra "cells" [B,n_cells**2].
    Cost: n_designs queries and fills per image; products of n_designs x n_designs matrices.
    Random: designs per image ("hsic"), and the filler's draws.
    """

    purpose: ClassVar[str] = "hsic"

    n_designs: Count = 1500
    n_cells: Count = 7
    width: Literal["median", "median_pairwise"] = "median"
    least_width: Positive = 1e-3

    def masks(self, image_ids: Sequence[str], streams: RandomStreams) -> Tensor:
        return self.sobol_points(image_ids, streams, self.n_designs, self.n_cells**2).round()

    def indices(self, masks: Tensor, answer: Tensor) -> Tensor:
        # the kernel of one image at a time
        return torch.stack([self.dependence(x, y) for x, y in zip(masks, answer, strict=True)])

    def dependence(self, bits: Tensor, answer: Tensor) -> Tensor:
        """The criterion of every cell, float64: bits [N,d], answers [N] -> [d]."""
        apart = answer[:, None] - answer
        if self.width == "median":
            width = answer.median()
        else:
            pairs = torch.triu_indices(len(answer), len(answer), 1)
            width = apart[pairs[0], pairs[1]].abs().median()
        kernel = torch.exp(-apart.square() / (2 * width.clamp_min(self.least_width).square()))
        centred = bits - bits.mean(0)
        return 2 / len(answer) * (centred * (kernel @ centred)).sum(0)

    def fills(self, shape: tuple[int, int, int]) -> int:
        return self.n_designs

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return replace(super().cost(shape), queries=self.n_designs)
