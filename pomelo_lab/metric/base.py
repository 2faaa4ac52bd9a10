"""The base class of metrics."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox, Classifier
from pomelo_lab.config.hints import Count
from pomelo_lab.config.signature import Component
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case


@dataclass(frozen=True)
class Summary:
    """One number for a set of images.

    mean:    the mean over images, or the set statistic
    std:     standard deviation over images; None for most set statistics
    n:       number of images that count
    n_nan:   number of images left out because their score is undefined
    details: further numbers behind the mean, such as a chosen threshold
    repeats: values of a set statistic under other random choices (seeds of an embedding); `mean` is their mean
    """

    mean: float
    std: float | None
    n: int
    n_nan: int = 0
    details: Mapping[str, float] = field(default_factory=dict)
    repeats: tuple[float, ...] = ()


@dataclass(kw_only=True)
class Metric(Component, ABC):
    """Scores explanations or perturbations: a value per image, or one statistic of a set of images.

    Per image: `score` returns {"value": [B]}, and further tensors for figures, e.g. "curve" [B,T].
    Set statistic: `score` returns the contribution of each image, image axis first, without "value". `summarize` gets
    the contributions of all images at once. In both cases the engine stores the result of `score`, by groups of images.

    direction: "higher" or "lower" is better, or None for a metric that only describes.
    unit:      unit of the value, e.g. "bits"; "" for a ratio.
    needs:     contents of the case, some of: "perturbations", "explanation", "segments", "masks", "attributes",
    "factors", "classifier" (black-box view), "white_box" (features and gradients), "explanations", "explain_again" (the
    explainer again). The needs of its components (a filler) are added automatically.
    reads:     parts of explanations that the metric uses although not every explainer gives them: "counterfactual",
    "coefficient".
    random:    whether `score` draws from the case's random streams, so that the score depends on the seed.
    Args:
        n_images: number of images that are scored, the first ones of the job; None = all.
    """

    direction: ClassVar[Literal["higher", "lower"] | None]
    unit: ClassVar[str] = ""
    reads: ClassVar[frozenset[str]] = frozenset()
    random: ClassVar[bool] = False

    n_images: Count | None = None

    @classmethod
    def dataset_problems(cls, given: Mapping[str, Any], dataset: type[Dataset]) -> Iterable[str]:
        """Problems of the arguments with the job's kind of data set. Each text follows the metric's config key and a
        dot.

        Args: given: all arguments with their defaults; components are config nodes.
        """
        return ()

    @abstractmethod
    def score(self, case: Case) -> dict[str, Tensor]:
        """The scores of a case, as tensors with the image axis first.

        "value" [B] is the score of each image, NaN where it is undefined. Images with 0 in an optional "counted" [B] do
        not belong to the scored population.
        """

    def ensure_given(self, part: Tensor | None, words: str) -> Tensor:
        """Returns a part of an explanation. Raises ValueError where the explainer does not give it."""
        if part is None:
            raise ValueError(f"metric {type(self).__name__} needs {words}, and the explainer gives none")
        return part

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        """Statistics of the training split, which are computed once, stored, and handed to `score` as
        case.reference."""
        return {}

    def partners(self, n: int) -> list[int] | None:
        """For each of n images that are scored together, the index of another image that its score also depends on.
        None when the score of an image depends on that image alone."""
        return None

    @property
    def fits(self) -> bool:
        """Whether scores depend on statistics of the training split."""
        return type(self).fit is not Metric.fit

    @property
    def access(self) -> Literal["black_box", "white_box"]:
        """The view of the classifier that the metric receives."""
        return "white_box" if "white_box" in self.needs else "black_box"

    def overrides(self) -> list[dict[str, Any]]:
        """Config changes whose explanations of the same images are compared (needs "explanations")."""
        return []

    def values(self, rows: Mapping[str, Tensor]) -> Tensor | None:
        """The score of each image, [b]; None for a set statistic.

        b is smaller than B where the last images are held out to choose a threshold.
        """
        return rows.get("value")

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        """One number from the scores of all images. NaN and infinities are counted, never averaged."""
        value = self.values(rows)
        summary = mean_summary(value[rows["counted"][: len(value)] > 0.5] if "counted" in rows else value)
        return replace(summary, details={"applies": 0.0}) if "applies" in rows else summary

    def groups(self, n: int) -> tuple[int, ...]:
        """Sizes of the groups into which a bootstrap cuts n images, to resample each group by itself: (scored, held
        out)."""
        return (n,)

    def usable(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Whether `resampled` can weigh each image: bool [B]."""
        return next(iter(rows.values())).new_ones(len(next(iter(rows.values()))), dtype=torch.bool)

    def resampled(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor], weights: Tensor) -> Tensor | None:
        """The mean of the summary for each of R resamples of the images, for a bootstrap.

        None where the summary is a plain mean of values, or too costly to compute R times.

        Shapes: weights float64 [R,B], summing to 1 in each group -> [R].
        """
        return None

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        """The cost of scoring one image of `shape`, without the cost of `explanations`."""
        return Cost()

    def shared_cost(self, shape: tuple[int, int, int]) -> Mapping[Hashable, Cost]:
        """The parts of `cost` that `score` takes from `Case.once`, by key. All metrics that score the same images pay
        them once."""
        return {}

    def fit_cost(self, n_training: int) -> Cost:
        """The cost of `fit` on n_training images."""
        return Cost()

    def explanations(self, classifier: Classifier) -> tuple[int, int]:
        """How often each image is explained again: (with another image, with a changed classifier); see
        "explain_again".

        Args: classifier: the explained classifier.
        """
        return 0, 0


def not_applicable(n: int) -> dict[str, Tensor]:
    """The scores of n images of an explainer to which a metric does not apply: no image counts, and none is
    undefined."""
    return {"value": torch.full((n,), torch.nan), "counted": torch.zeros(n), "applies": torch.zeros(n)}


def mean_summary(value: Tensor) -> Summary:
    """Mean and standard deviation (n - 1) of the finite values."""
    finite = value.double()[value.isfinite()]
    n = len(finite)
    mean = float(finite.mean()) if n else math.nan
    return Summary(mean=mean, std=float(finite.std()) if n > 1 else None, n=n, n_nan=len(value) - n)
