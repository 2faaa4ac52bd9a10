"""Sobol indices: attribution by the share of the answer's variance that involves a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.design import DesignExplainer


@dataclass(kw_only=True)
class SobolExplainer(DesignExplainer):
    """The total Sobol index of every cell's opacity, by Jansen's estimator.

    Source: Fel et al. (2021), https://arxiv.org/abs/2111.04138, and the code in xplique. There are two designs A and B
        of n_designs opacities per cell. A_i is A with the column of cell i taken from B. The index is sum (f(A) -
        f(A_i))^2 / (2 n var f(A)). Departures: a scrambled Sobol sequence; opacities blend the image with the filler's
        output (xplique: with black). Indices are 0 when all answers are equal.
    Args: n_designs: a power of two.
    Shapes: attribution [B,H,W], the cells enlarged by bicubic interpolation; extra "cells" [B,n_cells**2].
    Cost: n_designs * (n_cells**2 + 2) queries and fills per image.
    Random: designs per image ("sobol"), and the filler's draws.
    """

    purpose: ClassVar[str] = "sobol"

    n_designs: Count = 32

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports a number of designs that is not a power of two."""
        n = given["n_designs"]
        if n & (n - 1):
            yield f"n_designs must be a power of two, got {n}"

    def masks(self, image_ids: Sequence[str], streams: RandomStreams) -> Tensor:
        d = self.n_cells**2
        a, b = self.sobol_points(image_ids, streams, self.n_designs, 2 * d).split(d, 2)
        mixed = a[:, None].repeat(1, d, 1, 1)  # [B,d,N,d]
        cell = torch.arange(d)
        mixed[:, cell, :, cell] = b.movedim(2, 0)
        return torch.cat([a, b, mixed.flatten(1, 2)], 1)

    def indices(self, masks: Tensor, answer: Tensor) -> Tensor:
        n = self.n_designs
        first, mixed = answer[:, :n], answer[:, 2 * n :].unflatten(1, (-1, n))
        variance = first.var(1, correction=0)[:, None]
        indices = (first[:, None] - mixed).square().mean(2) / (2 * variance)
        return indices.masked_fill(variance <= 1e-24, 0)

    def fills(self, shape: tuple[int, int, int]) -> int:
        return self.n_designs * (self.n_cells**2 + 2)

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return replace(super().cost(shape), queries=self.fills(shape))
