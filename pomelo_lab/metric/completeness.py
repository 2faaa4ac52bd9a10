"""Completeness: whether attributions sum to what they claim to divide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.metric.base import Metric
from pomelo_lab.types import Case


@dataclass(kw_only=True)
class Completeness(Metric):
    """|sum of attributions - (answer for the image - answer for the baseline)|; NaN for methods that do not claim it.

    Source: Sundararajan et al. (2017), axiom 3. Departures: none.
    Args: relative: divide by the magnitude of the difference of the answers.
    Shapes: score gives "value" [B], from the explanation's extras "total" and "difference".
    Cost: no queries.
    """

    direction: ClassVar = "lower"
    symbol = "Completeness error"
    needs = frozenset({"explanation"})

    relative: bool = False

    def score(self, case: Case) -> dict[str, Tensor]:
        extra = case.explanation.extra
        if not {"total", "difference"} <= set(extra):
            return {"value": torch.full((len(case.batch),), torch.nan)}
        error = (extra["total"] - extra["difference"]).double().abs()
        return {"value": error / extra["difference"].double().abs() if self.relative else error}
