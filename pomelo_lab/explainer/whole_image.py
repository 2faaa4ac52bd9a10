"""A constant attribution: the control of localisation."""

from __future__ import annotations

from dataclasses import dataclass

from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class WholeImageExplainer(Explainer):
    """1 at every pixel, so that every box derived from it is the whole image.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, Table 2, row "baseline". Departures: none.
    Cost: no queries.
    """

    gives = frozenset({"attribution"})

    def explain(self, case: Case) -> Explanation:
        image = case.batch.image
        return Explanation(target=case.target, attribution=image.new_ones(len(image), *image.shape[2:]))
