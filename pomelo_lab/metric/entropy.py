"""Diversity: entropies of the classes, and of the explained class's probabilities, on the perturbations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Range
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric, Summary

Base = Annotated[float, Range(above=1)] | Literal["e"]
UNITS = {2: "bits", "e": "nats", 10: "hartleys"}


@dataclass(kw_only=True)
class HardEntropy(Metric):
    """Shannon entropy of the classes that win on an image's perturbations: E_hard.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.2, "Shannon entropy":
        -sum_c p(c) log p(c) per image. The base is unstated; 2 fits the reported 1.48 (it exceeds the training labels'
        entropy in nats), "e" gives nats. Departures: none.
    Args: base: base of the logarithm; "e" = natural.
    """

    revision: ClassVar[int] = 2  # 1 counted the image itself as one of its perturbations
    direction = "higher"
    unit = "bits"
    needs = frozenset({"classifier", "perturbations"})

    base: Base = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.unit = UNITS.get(self.base, f"log {self.base}")

    def score(self, case: Case) -> dict[str, Tensor]:
        return {"value": entropy(class_shares(probabilities(case)), self.base)}


@dataclass(kw_only=True)
class SoftEntropy(Metric):
    """Entropy of the explained class's probability over an image's perturbations: E_soft.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.2, "differential
        Shannon entropy". It prints -int pdf log pdf with 20 bins and the trapezoid, which is <= 0 for a density on
        [0,1], but reports values of 1.2 to 2.95. Those fit a Shannon entropy in bits (largest value log2 20 = 4.32).
        "histogram" is therefore the default and comparable with the paper.
    Args:
        estimator: "histogram" is -sum p log p over n_bins bins of [0,1]; "differential" is the printed formula on the
            density histogram, trapezoid over bin centres. As in scikit-learn's auc this omits half of both end bins, so
            the value can exceed 0 slightly.
        n_bins: uniform bins on [0,1], each closed on the left, the last on both sides.
        base: base of the logarithm; "e" = natural.
    """

    revision: ClassVar[int] = 2  # 1 counted the image itself as one of its perturbations
    direction = "higher"
    unit = "bits"
    needs = frozenset({"classifier", "perturbations"})

    estimator: Literal["histogram", "differential"] = "histogram"
    n_bins: Annotated[int, Range(low=2)] = 20
    base: Base = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.unit = UNITS.get(self.base, f"log {self.base}")

    def score(self, case: Case) -> dict[str, Tensor]:
        probability = probabilities(case)
        soft = probability[torch.arange(len(probability), device=probability.device), :, case.target]  # [B,N]
        share = bin_shares(soft, self.n_bins)
        if self.estimator == "histogram":
            return {"value": entropy(share, self.base)}
        integrand = torch.special.entr(share * self.n_bins) / log_of(self.base)
        return {"value": torch.trapezoid(integrand, dx=1 / self.n_bins, dim=1)}


@dataclass(kw_only=True)
class LabelDistribution(Metric):
    """Distribution of the classes that win on the perturbations, over all images. It shows the sampler's bias and has
    no better direction.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 4.3, "Analysis of the
        label distributions", Fig. 6, compared with the training labels. Departures: all perturbations instead of a
        random subset of them. Also Agarwal & Nguyen, section 5.2 and Fig. 8: the summary's details hold the share of
        the three most frequent classes.
    Args:
        n_reference: training images whose labels are the reference distribution, the first of the fixed shuffle.
        base: base of the logarithm in the summary, which is the entropy of the mean distribution.
    Shapes: score gives "distribution" [B,K]; fit gives "distribution" [K].
    """

    revision: ClassVar[int] = 2  # 1 counted the image itself as one of its perturbations
    direction = None
    unit = "bits"
    needs = frozenset({"classifier", "perturbations"})

    n_reference: Count = 5_000
    base: Base = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.unit = UNITS.get(self.base, f"log {self.base}")

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        label = training.labels(training.order()[: self.n_reference].tolist())
        return {
            "distribution": torch.bincount(label[label >= 0], minlength=training.num_classes).double()
            / (label >= 0).sum()
        }

    def score(self, case: Case) -> dict[str, Tensor]:
        return {"distribution": class_shares(probabilities(case))}

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        defined = rows["distribution"].isfinite().all(1)
        n = int(defined.sum())
        share = rows["distribution"][defined].mean(0)
        mean = float(entropy(share, self.base)) if n else math.nan
        details = {"top3": float(share.topk(min(3, len(share))).values.sum())}
        return Summary(mean=mean, std=None, n=n, n_nan=len(defined) - n, details=details)


def probabilities(case: Case) -> Tensor:
    """The classifier's probabilities for the perturbations without perturbation 0: [B,N-1,K].

    Raises ValueError when the case does not hold them.
    """
    if case.perturbations is None or case.perturbations.probability is None:
        raise ValueError("entropy metrics need the classifier's probabilities on perturbations, and the job has none")
    return case.perturbations.scored.probability


def class_shares(probability: Tensor) -> Tensor:
    """Share of perturbations each class wins: [B,N,K] -> float64 [B,K]; NaN for images with a non-finite
    probability."""
    winner = probability.argmax(2)
    share = shares(winner, probability.shape[2])
    return share.masked_fill_(~probability.isfinite().flatten(1).all(1)[:, None], math.nan)


def bin_shares(value: Tensor, n_bins: int) -> Tensor:
    """Share of values in each of n_bins uniform bins of [0,1]: [B,N] -> float64 [B,n_bins]; NaN for images with a
    non-finite value."""
    inner = torch.arange(1, n_bins, device=value.device, dtype=torch.float64) / n_bins
    share = shares(torch.bucketize(value.double(), inner, right=True), n_bins)
    return share.masked_fill_(~value.isfinite().all(1)[:, None], math.nan)


def shares(index: Tensor, n: int) -> Tensor:
    """The share of each of 0..n-1 in each row: int64 [B,N] -> float64 [B,n]."""
    ones = torch.ones(index.shape, dtype=torch.float64, device=index.device)
    return ones.new_zeros(len(index), n).scatter_add_(1, index, ones) / index.shape[1]


def log_of(base: float | str) -> float:
    """The natural logarithm of a base."""
    return 1.0 if base == "e" else math.log(base)


def entropy(share: Tensor, base: float | str = 2) -> Tensor:
    """Shannon entropy over the last axis."""
    return torch.special.entr(share).sum(-1) / log_of(base)
