"""Whether explanations with different random numbers rank the segments in the same order."""

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

    Source: own. POMELO's eq. 2 (Stability) measures distances, which shrink with the coefficients; ranks do not depend
        on their size. Ties get their mean rank, as in scipy.stats.spearmanr.
    Shapes: score gives "value" [B]; NaN where a repeat gives all segments the same coefficient, or with fewer than 2
        segments.
    """

    direction = "higher"

    def score(self, case: Case) -> dict[str, Tensor]:
        coefficient = self.coefficients(case)
        valid = torch.ones_like(coefficient[:, 0], dtype=torch.bool)
        if (count := case.explanations[0].extra.get("n_segments")) is not None:
            valid = torch.arange(valid.shape[1], device=valid.device) < count[:, None]
        rank = mean_ranks(coefficient, valid[:, None])
        rank = (rank - rank.sum(2, keepdim=True) / valid.sum(1)[:, None, None]) * valid[:, None]
        norm = torch.linalg.vector_norm(rank, dim=2, keepdim=True)
        unit = torch.where(norm > 0, rank / norm, torch.nan)
        m = self.n_repeats
        return {"value": ((unit @ unit.mT).sum((1, 2)) - m) / (m * (m - 1))}


def mean_ranks(value: Tensor, valid: Tensor) -> Tensor:
    """The rank of each valid entry among the valid entries of its row, from 1, ties at their mean; 0 elsewhere:
    [...,S], bool [...,S] -> [...,S]."""
    below = (value[..., None, :] < value[..., None]).to(value) + 0.5 * (value[..., None, :] == value[..., None]).to(
        value
    )
    return ((below * valid[..., None, :]).sum(-1) + 0.5) * valid
