"""Stability: the change of an explanation when only the random numbers change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import Range
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric

Repeats = Annotated[int, Range(low=2)]


@dataclass(kw_only=True)
class Repeated(Metric):
    """Compares the segment coefficients of explanations with different random numbers.

    Args: n_repeats: number m of explanations per image. Their seeds are 0 to m - 1 and do not depend on the job's seed.
    Cost: m explanations per image; metrics with the same m share them.
    Raises: ValueError when the explainer gives no segment coefficients, or their number differs between repeats.
    """

    reads = frozenset({"coefficient"})
    needs = frozenset({"explanations"})

    n_repeats: Repeats = 5

    def overrides(self) -> list[dict[str, Any]]:
        return [{"seed": seed} for seed in range(self.n_repeats)]

    def coefficients(self, case: Case) -> Tensor:
        """The segment coefficients of the repeats: float64 [B,m,S]."""
        name = type(self).__name__
        given = [explanation.extra.get("coefficient") for explanation in case.explanations]
        if not given or any(coefficient is None for coefficient in given):
            raise ValueError(
                f"metric {name} compares segment coefficients, and the explainer has no segment coefficients"
            )
        if len({tuple(coefficient.shape) for coefficient in given}) > 1:
            raise ValueError(
                f"metric {name} needs equal segments in every repeat, got shapes {[tuple(c.shape) for c in given]}"
            )
        return torch.stack(given, 1).double()


@dataclass(kw_only=True)
class Stability(Repeated):
    """Mean L2 distance of repeated explanations to their mean, on raw segment coefficients.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.6, eq. 2, read with n
        = m explanations (its n is not defined). Coefficients are neither rescaled nor spread to pixels. Independent
        U[0,1] coefficients on 70 segments and m = 5 score 2.155, the paper's random row; a surrogate's coefficients are
        much smaller, so that row is no upper bound. A ridge penalty makes coefficients small and so looks stable,
        however little the explanations agree: `relative` and `SeedAgreement` compare methods of different scale.
        Departures: none at m = 5.
    Args:
        as_repeats: number of explanations for which the score is stated. Eq. 2 grows with the number m of explanations
            as sqrt((m-1)/m), since their mean lies among them. None = n_repeats.
        relative: divide by the norm of the mean explanation (NaN when that is 0).
    """

    revision: ClassVar[int] = 2  # 1 depended on the number of repeats
    direction = "lower"

    as_repeats: Repeats | None = 5
    relative: bool = False

    def score(self, case: Case) -> dict[str, Tensor]:
        coefficient = self.coefficients(case)
        mean = coefficient.mean(1, keepdim=True)
        value = torch.linalg.vector_norm(coefficient - mean, dim=2).mean(1)
        value = value * (grows(self.as_repeats or self.n_repeats) / grows(self.n_repeats))
        return {"value": value / torch.linalg.vector_norm(mean[:, 0], dim=1) if self.relative else value}


def grows(m: int) -> float:
    """The standard deviation of m independent draws around their mean, as a share of that of a single draw."""
    return ((m - 1) / m) ** 0.5
