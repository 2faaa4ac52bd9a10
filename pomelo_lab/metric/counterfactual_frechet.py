"""Frechet distances between images and their counterfactuals."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
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
class FrechetOfFeatures(CounterfactualMetric, ABC):
    """Squared Frechet distance in features of a network: all images against the counterfactuals that succeeded.

    A set statistic that depends on the number of images: with fewer counterfactuals than features the covariance is rank-deficient, and the value
    only compares methods at the same number (details: rank_deficient = 1, and a warning); below two it is undefined.

    Args:
        n_equal: FID+: only the first so many successes, the same number for every method; None = all. Fewer successes than that: undefined.
        n_splits: sFID: the mean over random halves of the images, of one half's originals against the other half's counterfactuals, both ways;
            0 = originals and counterfactuals of the same images.
    Cost: two forwards of the network per image.
    """

    direction: ClassVar = "lower"

    population: Population = "successes"
    n_equal: Count | None = None
    n_splits: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        name, mark, network = type(self).symbol.partition("_")
        self.symbol = f"{'s' if self.n_splits else ''}{name}{'+' if self.n_equal else ''}{mark}{network}"

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """[B,C,H,W] in [0,1] -> [B,D]."""

    def measured(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        return {"original": self.features(case.batch.image), "made": self.features(counterfactual)}

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


@dataclass(kw_only=True)
class CounterfactualFrechet(FrechetOfFeatures):
    """The distance in penultimate features of an oracle: fd_oracle, never to be compared with a published FID.

    Source: FID of paper 004 (Inception's features) and its code. Departures: the network, and with it the name; FID itself: metric/inception.py.
    Args: oracle: the network; not the explained classifier.
    """

    symbol = "FD_oracle"

    oracle: NetworkClassifier

    def features(self, images: Tensor) -> Tensor:
        return view(self.oracle, "white_box", 256, images.device).feature(images)


def frechet(one: Tensor, other: Tensor) -> float:
    """Squared distance of Gaussians fitted to features [n,D] and [m,D].

    Cost: a decomposition of a D x D matrix (3 s on a core for Inception's 2048), or of an n x m matrix where there are fewer images than features.
    """
    if max(len(one), len(other)) >= one.shape[1]:
        return distance(moments(one), moments(other))
    means = [features.double().mean(0) for features in (one, other)]
    a, b = ((features - mean) / (len(features) - 1) ** 0.5 for features, mean in zip((one, other), means, strict=True))  # C_a = a'a
    root = torch.linalg.svdvals(a @ b.T).sum()  # the trace of (C_a C_b)^(1/2)
    return max(0.0, float((means[0] - means[1]).square().sum() + a.square().sum() + b.square().sum() - 2 * root))
