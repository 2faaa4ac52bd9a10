"""Counts explanations that do not rank the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric, Summary
from pomelo_lab.metric.map_similarity import varies

FLAGS = ("at_chance", "unreached")


@dataclass(kw_only=True)
class Degenerate(Metric):
    """1 where an attribution is constant or not finite, so that it does not rank the pixels, otherwise 0.

    Source: own. The summary also counts the images that the explainer flags: "at_chance" (the target is at chance from
        the start, so nothing is removed) and "unreached" (everything is removed, and the target is still above chance);
        see MP2.
    """

    direction: ClassVar = "lower"
    needs = frozenset({"explanation"})

    def score(self, case: Case) -> dict[str, Tensor]:
        flags = {name: case.explanation.extra[name] for name in FLAGS if name in case.explanation.extra}
        return {"value": (~varies(case.explanation.attribution)).double(), **flags}

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        counts = {name: float(rows[name].sum()) for name in FLAGS if name in rows}
        return replace(
            super().summarize(rows, reference),
            details={"constant": float(torch.as_tensor(rows["value"]).sum()), **counts},
        )
