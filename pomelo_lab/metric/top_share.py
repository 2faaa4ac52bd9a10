"""The share of perturbed images that a few classes win."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric, Summary
from pomelo_lab.metric.entropy import class_shares, probabilities


@dataclass(kw_only=True)
class TopShare(Metric):
    """The share of all perturbations that the most frequent classes win; lower = less biased.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 5.2 and Fig. 8 (20.5 % of LIME's
        perturbations of 200 images in three of 1,000 classes). Departures: none.
    Args: n_top: number of classes.
    Shapes: score gives "distribution" [B,K]; a set statistic.
    Cost: no queries beyond those on the perturbations.
    """

    direction: ClassVar = "lower"
    needs = frozenset({"classifier", "perturbations"})

    n_top: Count = 3

    def score(self, case: Case) -> dict[str, Tensor]:
        return {"distribution": class_shares(probabilities(case))}

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        defined = rows["distribution"].isfinite().all(1)
        n = int(defined.sum())
        share = rows["distribution"][defined].double().mean(0)
        top = float(torch.topk(share, min(self.n_top, len(share))).values.sum()) if n else math.nan
        return Summary(mean=top, std=None, n=n, n_nan=len(defined) - n)
