"""Similarity of the changes that several counterfactuals make to the same image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.counterfactual import successes


@dataclass(kw_only=True)
class ChangeSimilarity(Metric):
    """Mean cosine between the changes that several settings of an explainer make to an image: 1 = equal changes, 0 =
    unrelated ones.

    The length of a change does not count: near and far steps along one direction score 1, while a distance between
    their images would call them diverse.

    Source: own; Sobieski & Biecek (GCD), section 5.2, call counterfactuals along h-directions diverse and show
        pictures. Departures: none.
    Args:
        key: dotted config key that varies.
        settings: its values, two or more.
    Shapes: score also gives "pairs" [B,P] and "reached" [B], the share of the settings that reach the class. NaN where
        a setting changes nothing.
    Cost: an explanation per setting.
    """

    reads = frozenset({"counterfactual"})
    direction: ClassVar = "lower"
    needs = frozenset({"explanations"})

    key: str = "explainer.index"
    settings: list[Any] = field(default_factory=lambda: [[0], [1], [2], [3]])

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports fewer than two settings."""
        yield from super().config_problems(given)
        if len(given["settings"]) < 2:
            yield f"settings must hold two or more, got {given['settings']}"

    def overrides(self) -> list[dict[str, Any]]:
        return [{self.key: value} for value in self.settings]

    def score(self, case: Case) -> dict[str, Tensor]:
        images = [self.ensure_given(e.counterfactual, "counterfactuals") for e in case.explanations]
        changes = torch.stack([image - case.batch.image for image in images], 1).flatten(2).double()
        length = torch.linalg.vector_norm(changes, dim=2, keepdim=True)
        unit = torch.where(length > 0, changes / length, torch.nan)
        pairs = torch.stack([(unit[:, i] * unit[:, j]).sum(1) for i, j in combinations(range(unit.shape[1]), 2)], 1)
        return {"value": pairs.mean(1), "pairs": pairs, "reached": successes(case.explanations).double().mean(1)}
