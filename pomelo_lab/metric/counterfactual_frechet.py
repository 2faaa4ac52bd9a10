"""Frechet distances between images and their counterfactuals."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.classifier.base import NetworkClassifier, view
from pomelo_lab.config.hints import Count, Natural
from pomelo_lab.metric.base import Summary
from pomelo_lab.metric.counterfactual import CounterfactualMetric, Population
from pomelo_lab.metric.frechet import distance, moments
from pomelo_lab.types import Case

log = logging.getLogger(__name__)

FEWEST = 2  # images of which a covariance can be taken at all


@dataclass(kw_only=True)
class CounterfactualFrechet(CounterfactualMetric):
    """Squared Frechet distance in penultimate features of an oracle: all images against the counterfactuals that succeeded.

    Source: FID of paper 004 (Inception's features) and its code. Departures: the network, and with it the name: fd_oracle. A set statistic that
        depends on the number of images: with fewer counterfactuals than features the covariance is rank-deficient, and the value only compares
        methods at the same number (details: rank_deficient = 1, and a warning).
    Args:
        oracle: the network; not the explained classifier.
        n_equal: FID+: only the first so many successes, the same number for every method; None = all. Fewer successes than that: undefined.
        n_splits: sFID: the mean over random halves of the images, of one half's originals against the other half's counterfactuals, both ways;
            0 = originals and counterfactuals of the same images.
    Cost: two forwards of the oracle per image.
    """

    direction: ClassVar = "lower"
    symbol = "FD_oracle"

    oracle: NetworkClassifier
    population: Population = "successes"
    n_equal: Count | None = None
    n_splits: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.symbol = "sFD_oracle" if self.n_splits else "FD+_oracle" if self.n_equal else "FD_oracle"

    def measured(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        box = view(self.oracle, "white_box", 256, counterfactual.device)
        return {"original": box.feature(case.batch.image), "made": box.feature(counterfactual)}

    def values(self, rows: dict[str, Tensor]) -> Tensor | None:
        return None

    def summarize(self, rows: dict[str, Tensor], reference: dict[str, Tensor]) -> Summary:
        original, made, counted = rows["original"], rows["made"], rows["counted"] > 0.5
        if self.n_equal is not None:
            if int(counted.sum()) < self.n_equal:
                return Summary(mean=float("nan"), std=None, n=int(counted.sum()), details={"wanted": float(self.n_equal)})
            counted = counted & (counted.long().cumsum(0) <= self.n_equal)
        n = int(counted.sum())
        if self.n_splits:
            found = self.split(original, made, counted)
        else:
            found = [frechet(original, made[counted])] if min(n, len(original)) >= FEWEST else []
        if not found:
            return Summary(mean=float("nan"), std=None, n=n, details={"wanted": float(FEWEST)})
        deficient = n <= made.shape[1]
        if deficient:
            text = "%s of %d counterfactuals in %d features is rank-deficient: compare methods at equal numbers only"
            log.warning(text, self.symbol, n, made.shape[1])
        values = torch.tensor(found, dtype=torch.float64)
        spread = float(values.std()) if len(values) > 1 else None
        return Summary(mean=float(values.mean()), std=spread, n=n, details={"rank_deficient": float(deficient)})

    def split(self, original: Tensor, made: Tensor, counted: Tensor) -> list[float]:
        """One distance per random halving and direction."""
        found, n = [], len(original)
        for order in (torch.randperm(n, generator=torch.Generator().manual_seed(k)) for k in range(self.n_splits)):
            halves = order[: n // 2], order[n // 2 :]
            for real, fake in (halves, halves[::-1]):
                fake = fake[counted[fake]]
                if min(len(real), len(fake)) >= FEWEST:
                    found.append(frechet(original[real], made[fake]))
        return found


def frechet(one: Tensor, other: Tensor) -> float:
    return distance(moments(one), moments(other))
