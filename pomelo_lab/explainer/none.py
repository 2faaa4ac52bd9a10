"""No explanation: perturbations are drawn so that metrics can score the sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pomelo_lab.config.hints import Count
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class NoExplainer(Explainer):
    """Explains nothing: for jobs that score samplers (POMELO, Table 1).

    Args: n_samples: perturbations drawn for each image.
    Raises: ValueError from `explain`, which no job calls.
    """

    explains: ClassVar[bool] = False
    gives = frozenset()
    needs = frozenset({"perturbations"})

    n_samples: Count = 20

    def explain(self, case: Case) -> Explanation:
        raise ValueError("explainer=none explains nothing: a metric that needs explanations asks for another explainer")
