"""Completeness: whether an attribution sums to the difference of answers that it divides among the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric, not_applicable


@dataclass(kw_only=True)
class Completeness(Metric):
    """|sum of the attribution - (answer for the image - answer for the baseline)|, for methods that claim that this is
    0.

    Source: Sundararajan et al. (2017), https://arxiv.org/abs/1703.01365, axiom 3. Departures: none.
    Args: relative: divide by the magnitude of the difference of the answers.
    Shapes: score gives "value" [B], from the explanation's extras "total" and "difference".
    Cost: no queries.
    """

    revision = 2  # a metric that does not apply has no undefined scores
    direction: ClassVar = "lower"
    needs = frozenset({"explanation"})

    relative: bool = False

    def score(self, case: Case) -> dict[str, Tensor]:
        extra = case.explanation.extra
        if not {"total", "difference"} <= set(extra):
            return not_applicable(len(case.batch))
        error = (extra["total"] - extra["difference"]).double().abs()
        return {"value": error / extra["difference"].double().abs() if self.relative else error}
