"""The exact mask of the region that causes the label: the upper limit of attributions."""

from __future__ import annotations

from dataclasses import dataclass

from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class IdealMaskExplainer(Explainer):
    """1 on the pixels that determine the label, 0 elsewhere: the correct explanation of a perfect classifier.

    Source: own; the row "limit". It uses neither the classifier nor the target.
    Args: part: name of the data set's mask. "label" is the region that the label determines (portraits: where another
        hair colour would change a pixel).
    Cost: no queries.
    Random: none.
    Raises: ValueError when the data set lacks the mask. The message names the masks that exist.
    """

    gives = frozenset({"attribution"})
    needs = frozenset({"masks"})

    part: str = "label"

    def explain(self, case: Case) -> Explanation:
        masks = case.batch.masks
        if self.part not in masks:
            known = ", ".join(masks) or "it has none"
            raise ValueError(f"explainer.part must be a mask of the data set ({known}), got {self.part!r}")
        return Explanation(target=case.target, attribution=masks[self.part].to(case.batch.image))
