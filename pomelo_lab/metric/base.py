"""What every metric answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox, Classifier
from pomelo_lab.config.hints import Count
from pomelo_lab.config.signature import Component
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case


@dataclass(frozen=True)
class Summary:
    """One number for a set of images: mean (or set statistic), spread over images, images counted, NaN left out.

    details: further numbers that say how it came about (a chosen threshold). repeats: a set statistic under other
        random choices (seeds of an
    embedding), whose mean it is.
    """

    mean: float
    std: float | None
    n: int
    n_nan: int = 0
    details: Mapping[str, float] = field(default_factory=dict)
    repeats: tuple[float, ...] = ()


@dataclass(kw_only=True)
class Metric(Component, ABC):
    """Scores explanations or perturbations; a value per image, or a set statistic by explicit accumulation.

    Per image: `score` returns {"value": [B]} (and further tensors for figures, e.g. "curve" [B,T]).
    Set statistic: `score` returns what has to be accumulated, image axis first, without "value"; `summarize` gets it
    for all images at once. Either way the engine stores what `score` returned, group of images by group of images.

    direction: "higher" or "lower" is better, or None where the metric describes and does not judge.
    unit:      of the value, e.g. "bits", "" for a ratio.
    symbol:    column head in tables (LaTeX allowed).
    needs:     what the case must hold, of: "perturbations", "explanation", "segments", "masks", "attributes",
               "factors", "classifier" (black-box view), "white_box" (features and gradients), "explanations",
               "explain_again" (the explainer once more).
    reads:     what it looks at in explanations, where not every explainer gives it, of: "counterfactual",
        "coefficient".
    random:    whether `score` draws from the case's streams, so that the score depends on the seed.
    Args:
        n_images: score only the first so many images of the job; None = all.
    """

    direction: ClassVar[Literal["higher", "lower"] | None]
    unit: ClassVar[str] = ""
    symbol: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = frozenset()
    random: ClassVar[bool] = False

    n_images: Count | None = None

    @classmethod
    def dataset_problems(cls, given: Mapping[str, Any], dataset: type[Dataset]) -> Iterable[str]:
        """What is wrong with arguments on the job's kind of data set, in words that follow the metric's key and a dot.

        Args: given: every argument, defaults included, components as their config nodes.
        """
        return ()

    @abstractmethod
    def score(self, case: Case) -> dict[str, Tensor]:
        """Tensors with the image axis first; "value" is the per-image score. NaN = undefined for that image; where
        there is "counted" [B], images with 0 are not of the population that is scored."""

    def ensure_given(self, part: Tensor | None, words: str) -> Tensor:
        """A part of an explanation. Raises ValueError where the explainer does not give it."""
        if part is None:
            raise ValueError(f"metric {type(self).__name__} needs {words}, and the explainer gives none")
        return part

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        """Statistics of the training split that scores refer to; computed once, stored, given back as
        case.reference."""
        return {}

    @property
    def fits(self) -> bool:
        """Whether it refers to training statistics."""
        return type(self).fit is not Metric.fit

    @classmethod
    def needed(cls, given: Mapping[str, Any]) -> frozenset[str]:
        """What the metric needs with these arguments; `needs` where they do not matter."""
        return cls.needs

    def overrides(self) -> list[dict[str, Any]]:
        """Config changes whose explanations of the same images this metric compares (needs "explanations")."""
        return []

    def values(self, rows: Mapping[str, Tensor]) -> Tensor | None:
        """Per-image scores [b], b <= B: of the first images where the others serve to choose a threshold.

        None = a set statistic.
        """
        return rows.get("value")

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        """All images' scores to one number. NaN and infinities are counted, never averaged."""
        value = self.values(rows)
        summary = mean_summary(value[rows["counted"][: len(value)] > 0.5] if "counted" in rows else value)
        return replace(summary, details={"applies": 0.0}) if "applies" in rows else summary

    def groups(self, n: int) -> tuple[int, ...]:
        """Sizes of the consecutive groups of n images that a bootstrap resamples each by itself: (scored, held-out)."""
        return (n,)

    def usable(self, rows: Mapping[str, Tensor]) -> Tensor:
        """bool [B]: images that `resampled` can weigh."""
        return next(iter(rows.values())).new_ones(len(next(iter(rows.values()))), dtype=torch.bool)

    def resampled(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor], weights: Tensor) -> Tensor | None:
        """The summary's mean for resampled images, where it is no plain mean of values and cheap enough; None
        otherwise.

        Shapes: weights float64 [R,B], summing to 1 in each group -> [R].
        """
        return None

    @property
    def costs_at_most(self) -> bool:
        """Whether `queries` and `evaluations` are the most that can be needed: equal images are asked once, say."""
        return False

    def queries(self, shape: tuple[int, int, int], n_perturbations: int) -> int:
        """Classifier queries per image, for the plan of a dry run; without those of explanations that are made anew."""
        return 0

    def fit_costs(self, n_training: int) -> tuple[int, int]:
        """Generator evaluations and classifier queries of `fit` on so many training images, for the plan."""
        return 0, 0

    def explanations(self, classifier: Classifier) -> tuple[int, int]:
        """Explanations of each image that are made anew, for other images and for changed classifiers (needs
        "explain_again").

        Args: classifier: the job's.
        """
        return 0, 0

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        """Generator network evaluations per image (0 for metrics without a network)."""
        return 0


def not_applicable(n: int) -> dict[str, Tensor]:
    """What `score` returns for n images of an explainer that a metric has nothing to say about: none of them counts,
    and none is undefined."""
    return {"value": torch.full((n,), torch.nan), "counted": torch.zeros(n), "applies": torch.zeros(n)}


def mean_summary(value: Tensor) -> Summary:
    """Mean and standard deviation (n - 1) of the finite values."""
    finite = value.double()[value.isfinite()]
    n = len(finite)
    mean = float(finite.mean()) if n else math.nan
    return Summary(mean=mean, std=float(finite.std()) if n > 1 else None, n=n, n_nan=len(value) - n)
