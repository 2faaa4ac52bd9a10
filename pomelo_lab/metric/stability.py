"""Stability: how much an explanation changes when only the random numbers do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from pomelo_lab.config.hints import Range
from pomelo_lab.metric.base import Metric
from pomelo_lab.types import Case


@dataclass(kw_only=True)
class Stability(Metric):
    """Mean L2 distance of repeated explanations to their mean, on raw segment coefficients.

    Source: paper 000, section 3.6, eq. 2, read with n = m explanations (its n is not defined). Coefficients are neither
        rescaled nor spread to pixels. Independent U[0,1] coefficients on 70 segments and m = 5 score 2.155, the paper's random row;
        a surrogate's coefficients are much smaller, so that row is no upper bound: `relative` compares methods of
        different scale. Departures: none.
    Args:
        n_repeats: m, explanations per image, with seeds 0..m-1 whatever the job's seed.
        relative: divide by the norm of the mean explanation (NaN when that is 0).
    Cost: m explanations per image.
    Raises: ValueError when the explainer gives no segment coefficients, or as many differ between repeats.
    """

    direction = "lower"
    symbol = "Stab."
    needs = frozenset({"explanations"})

    n_repeats: Annotated[int, Range(low=2)] = 5
    relative: bool = False

    def overrides(self) -> list[dict[str, Any]]:
        return [{"seed": seed} for seed in range(self.n_repeats)]

    def score(self, case: Case) -> dict[str, Tensor]:
        found = [one.extra.get("coefficient") for one in case.explanations]
        if not found or any(one is None for one in found):
            raise ValueError("metric Stability compares segment coefficients, and the explainer has no segment coefficients")
        if len({tuple(one.shape) for one in found}) > 1:
            raise ValueError(f"metric Stability needs equal segments in every repeat, got shapes {[tuple(one.shape) for one in found]}")
        coefficient = torch.stack(found, 1).double()  # [B,m,S]
        mean = coefficient.mean(1, keepdim=True)
        value = torch.linalg.vector_norm(coefficient - mean, dim=2).mean(1)
        return {"value": value / torch.linalg.vector_norm(mean[:, 0], dim=1) if self.relative else value}
