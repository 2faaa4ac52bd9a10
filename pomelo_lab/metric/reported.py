"""Values that explainers record about their computation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric, not_applicable


@dataclass(kw_only=True)
class Reported(Metric):
    """A number per image that the explanation holds among its extras. Explainers without it are not scored.

    Args: name: name of the extra, e.g. "cross_entropy", "information", "mean_time", "noise_class".
    Shapes: score gives "value" [B]. Raises: ValueError when the extra is no single number per image.
    Cost: no queries.
    """

    revision = 2  # a metric that does not apply has no undefined scores
    direction: ClassVar = None
    needs = frozenset({"explanation"})

    name: str

    def score(self, case: Case) -> dict[str, Tensor]:
        value = case.explanation.extra.get(self.name)
        if value is None:
            return not_applicable(len(case.batch))
        if value.ndim != 1:
            raise ValueError(
                f"metric Reported: {self.name} must be one number per image, got {list(value.shape[1:])} of them"
            )
        return {"value": value}
