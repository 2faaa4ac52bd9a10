"""Frechet distances between images and their counterfactuals."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.base import NetworkClassifier, view
from pomelo_lab.config.hints import Count, Natural, OmitDefault
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Summary
from pomelo_lab.metric.counterfactual import CounterfactualMetric, Population, successes
from pomelo_lab.metric.frechet import distance_of_features

log = logging.getLogger(__name__)

FEWEST = 2  # least number of images with a covariance


@dataclass(kw_only=True)
class FrechetOfFeatures(CounterfactualMetric, ABC):
    """Squared Frechet distance in features of a network, between all images and the successful counterfactuals.

    The value depends on the number of images. With fewer counterfactuals than features the covariance is
    rank-deficient, and only methods with the same number of counterfactuals are comparable. The details then hold
    rank_deficient = 1, and a warning is logged. The distance is undefined for fewer than two counterfactuals.

    Args:
        n_equal: FID+: size of random subsets of the successes, the same for every method; undefined with fewer
            successes. "least" = the number of successes of the method with the fewest (DiME, Table 2). None = all
            successes, once.
        variants: the methods that "least" compares, as values of explainer.variant.
        n_draws: number of random subsets; the summary holds their mean and standard deviation (the paper's ±).
        n_splits: sFID: number of random halvings of the images. The originals of one half are compared with the
            counterfactuals of the other, in both directions, and the distances are averaged. 0 = originals and
            counterfactuals of the same images.
    Cost: two forward passes of the network per image. "least" also needs an explanation per variant, which the table
        computes anyway.
    """

    direction: ClassVar = "lower"
    revision: ClassVar[int] = 2  # FID+ of random subsets

    population: Population = "successes"
    n_equal: Count | Literal["least"] | None = None
    variants: Annotated[list[str], OmitDefault()] = field(
        default_factory=lambda: ["dime", "direct", "naive", "early_stop"]
    )
    n_draws: Annotated[Count, OmitDefault()] = 20
    n_splits: Natural = 0

    @classmethod
    def needs_for(cls, given: Mapping[str, Any]) -> frozenset[str]:
        return cls.needs | ({"explanations"} if given["n_equal"] == "least" else set())

    def overrides(self) -> list[dict[str, Any]]:
        return [{"explainer.variant": variant} for variant in self.variants] if self.n_equal == "least" else []

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """The features of images: [B,C,H,W] in [0,1] -> [B,D]."""

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        rows = {"original": self.features(case.batch.image), "made": self.features(counterfactual)}
        if self.n_equal == "least":
            rows["reached"] = successes(case.explanations)
        return rows

    def values(self, rows: dict[str, Tensor]) -> Tensor | None:
        return None

    def summarize(self, rows: dict[str, Tensor], reference: dict[str, Tensor]) -> Summary:
        original, made, chosen = rows["original"], rows["made"], rows["counted"] > 0.5
        counted = chosen & made.isfinite().all(1)
        n = int(counted.sum())
        n_nan = int(chosen.sum()) - n
        if self.n_equal is not None:
            wanted = max(FEWEST, int(rows["reached"].sum(0).min()) if self.n_equal == "least" else self.n_equal)
            distances = self.draw_subsets(original, made[counted], wanted) if n >= wanted else []
            n = wanted if distances else n
        elif self.n_splits:
            distances = self.halve(original, made, counted)
        else:
            distances = [distance_of_features(original, made[counted])] if min(n, len(original)) >= FEWEST else []
        if not distances:
            return Summary(
                mean=float("nan"),
                std=None,
                n=n,
                n_nan=n_nan,
                details={"wanted": float(FEWEST if self.n_equal is None else wanted)},
            )
        deficient = n <= made.shape[1]
        if deficient:
            text = "%s of %d counterfactuals in %d features is rank-deficient: compare methods at equal numbers only"
            log.warning(text, type(self).__name__, n, made.shape[1])
        values = torch.tensor(distances, dtype=torch.float64)
        spread = float(values.std()) if len(values) > 1 else None
        repeats = tuple(distances) if self.n_equal is not None else ()
        details = {"rank_deficient": float(deficient)}
        return Summary(mean=float(values.mean()), std=spread, n=n, n_nan=n_nan, details=details, repeats=repeats)

    def draw_subsets(self, original: Tensor, made: Tensor, n: int) -> list[float]:
        """One distance per random subset of n counterfactuals, to all originals."""
        rng = torch.Generator().manual_seed(0)
        return [
            distance_of_features(original, made[torch.randperm(len(made), generator=rng)[:n]])
            for _ in range(self.n_draws)
        ]

    def halve(self, original: Tensor, made: Tensor, counted: Tensor) -> list[float]:
        """One distance per random halving and direction."""
        distances, n = [], len(original)
        for order in (torch.randperm(n, generator=torch.Generator().manual_seed(k)) for k in range(self.n_splits)):
            halves = order[: n // 2], order[n // 2 :]
            for real, fake in (halves, halves[::-1]):
                fake = fake[counted[fake]]
                if min(len(real), len(fake)) >= FEWEST:
                    distances.append(distance_of_features(original[real], made[fake]))
        return distances


@dataclass(kw_only=True)
class CounterfactualFrechet(FrechetOfFeatures):
    """The distance in penultimate features of an oracle: fd_oracle. It is not comparable with a published FID.

    Source: the FID of Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, with Inception's
        features, and its code. Departures: the network, and with it the name; FID itself:
        metric/frechet_inception_distance.py.
    Args: oracle: the network; not the explained classifier.
    """

    oracle: NetworkClassifier

    def features(self, images: Tensor) -> Tensor:
        return view(self.oracle, "white_box", 256, images.device).feature(images)
