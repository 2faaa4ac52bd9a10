"""Whether explanations with different random numbers order the segments alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.stability import Repeated


@dataclass(kw_only=True)
class SeedAgreement(Repeated):
    """Mean Spearman rank correlation of the segment coefficients between all pairs of repeats: 1 = the same order, 0 =
    chance.

    Source: own, beside stability: POMELO's eq. 2 measures distances, which shrink with the coefficients; an order does
        not. Ties get their mean rank, as in scipy.stats.spearmanr.
    Shapes: score gives "value" [B]; NaN where a repeat gives all segments the same coefficient, or with fewer than 2
        segments.
    """

    direction = "higher"
    symbol = "rank corr."

    def score(self, case: Case) -> dict[str, Tensor]:
        coefficient = self.coefficients(case)
        own = torch.ones_like(coefficient[:, 0], dtype=torch.bool)
        if (count := case.explanations[0].extra.get("n_segments")) is not None:
            own = torch.arange(own.shape[1], device=own.device) < count[:, None]
        rank = mean_ranks(coefficient, own[:, None])
        rank = (rank - rank.sum(2, keepdim=True) / own.sum(1)[:, None, None]) * own[:, None]
        norm = torch.linalg.vector_norm(rank, dim=2, keepdim=True)
        unit = torch.where(norm > 0, rank / norm, torch.nan)
        m = self.n_repeats
        return {"value": ((unit @ unit.mT).sum((1, 2)) - m) / (m * (m - 1))}


def mean_ranks(value: Tensor, own: Tensor) -> Tensor:
    """Rank of each entry among the own entries of its row, ties at their mean, from 1; 0 elsewhere: [...,S], bool
    [...,S] -> [...,S]."""
    below = (value[..., None, :] < value[..., None]).to(value) + 0.5 * (value[..., None, :] == value[..., None]).to(
        value
    )
    return ((below * own[..., None, :]).sum(-1) + 0.5) * own
