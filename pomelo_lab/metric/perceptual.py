"""Perceptual distance: to the image, and between the counterfactuals of several runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.config.hints import OmitDefault
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.counterfactual import CounterfactualMetric, in_8_bits, successes
from pomelo_lab.metric.perceptual_distance import LPIPSDistance, OracleDistance


@dataclass(kw_only=True)
class CounterfactualDistance(CounterfactualMetric, ABC):
    """Perceptual distance between image and counterfactual."""

    direction: ClassVar = "lower"

    @abstractmethod
    def distance(self, image: Tensor, other: Tensor) -> Tensor:
        """The distance of each pair of images: [B,C,H,W] twice -> [B]."""

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        return {"value": self.distance(case.batch.image, counterfactual)}


@dataclass(kw_only=True)
class CounterfactualLPIPS(OracleDistance, CounterfactualDistance):
    """The distance between image and counterfactual in layers of our oracle. It is not comparable with a published
    LPIPS.

    Source: see OracleDistance.
    """


@dataclass(kw_only=True)
class LPIPS(LPIPSDistance, CounterfactualDistance):
    """The published distance between image and counterfactual.

    Source: see LPIPSDistance; VGG as in the GCD paper's loss. Departures: none.
    """

    instead = "metrics=counterfactual (lpips_oracle)"


@dataclass(kw_only=True)
class SeedDiversity(Metric, ABC):
    """Mean perceptual distance between the counterfactuals of an image under several seeds, or several values of
    another key.

    Source: Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, section 4.3 and eq. 11; its code.
        The equation divides the sum over pairs by n (n + 1) / 2. The code averages over the n (n - 1) / 2 pairs, which
        is 1.5 times as much for five runs. The equation covers all counterfactuals. The code keeps images with the same
        outcome in all runs, including those that fail in all of them.
    Shapes: score also gives "same" [B], the share of the runs with the image's more frequent outcome: 1 = the outcome
        does not depend on the seed.
    Args:
        seeds: the seeds of the runs.
        key: dotted config key that differs between runs.
        settings: values of the key, instead of the seeds; None = the runs differ in their seeds.
        normalizer: "pairs" (the code) or "paper" (the equation).
        population: which images count: "all", or "successes", where every run succeeds.
    Cost: an explanation per seed.
    """

    reads = frozenset({"counterfactual"})
    revision: ClassVar[int] = 2  # 1 did not store the agreement of runs
    direction: ClassVar = "higher"
    needs = frozenset({"explanations"})

    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    normalizer: Literal["pairs", "paper"] = "pairs"
    population: Literal["all", "successes"] = "all"
    key: Annotated[str, OmitDefault()] = "seed"
    settings: Annotated[list[Any] | None, OmitDefault()] = None

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports fewer than two seeds or settings."""
        yield from super().config_problems(given)
        if len(given["seeds"]) < 2:
            yield f"seeds must hold two or more, got {given['seeds']}"
        if given["settings"] is not None and len(given["settings"]) < 2:
            yield f"settings must hold two or more, got {given['settings']}"

    @abstractmethod
    def distance(self, image: Tensor, other: Tensor) -> Tensor:
        """The distance of each pair of images: [B,C,H,W] twice -> [B]."""

    def overrides(self) -> list[dict[str, Any]]:
        return [{self.key: value} for value in (self.seeds if self.settings is None else self.settings)]

    def score(self, case: Case) -> dict[str, Tensor]:
        images = [in_8_bits(self.ensure_given(e.counterfactual, "counterfactuals")) for e in case.explanations]
        pairs = torch.stack([self.distance(a, b) for a, b in combinations(images, 2)], 1).double()
        n = len(images)
        counted = torch.ones(len(pairs), device=pairs.device)
        if self.population == "successes":
            counted = successes(case.explanations).amin(1).to(pairs.device)
        reached = successes(case.explanations).double().mean(1)
        value = pairs.sum(1) / (n * (n - 1) / 2 if self.normalizer == "pairs" else n * (n + 1) / 2)
        return {
            "value": value.masked_fill(counted < 0.5, torch.nan),
            "pairs": pairs,
            "counted": counted,
            "same": torch.maximum(reached, 1 - reached),
        }


@dataclass(kw_only=True)
class Diversity(OracleDistance, SeedDiversity):
    """The diversity in layers of our oracle (sigma_l_oracle). It is not comparable with a published sigma_L.

    Source: see SeedDiversity. Departures: the distance, see OracleDistance.
    """


@dataclass(kw_only=True)
class SigmaL(LPIPSDistance, SeedDiversity):
    """sigma_L: the diversity by the published distance, on VGG as in the paper.

    Source: see SeedDiversity and LPIPSDistance. Departures: none.
    """

    instead = "metrics=diversity (sigma_l_oracle)"
