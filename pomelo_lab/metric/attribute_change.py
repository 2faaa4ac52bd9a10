"""Scores of the attributes that a counterfactual changes, as an independent network detects them."""

from __future__ import annotations

import logging
from abc import ABC
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox, NetworkClassifier, view
from pomelo_lab.config.hints import Count, OmitDefault
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Summary
from pomelo_lab.metric.counterfactual import CounterfactualMetric, Population

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class AttributeMetric(CounterfactualMetric, ABC):
    """The base class of scores of attributes. An attribute is detected where the oracle's probability is above one
    half.

    Args:
        dataset: the data set of the job, which names the oracle's outputs.
        oracle: attribute network; not the explained classifier.
        among: the attributes that count; None = all.
    """

    dataset: Dataset
    oracle: NetworkClassifier
    among: Annotated[list[str] | None, OmitDefault()] = None
    population: Population = "successes"

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.counts  # refuses unknown names early

    @cached_property
    def counts(self) -> list[int]:
        """Columns of the attributes that count."""
        return [self.column(name) for name in (self.dataset.attribute_names if self.among is None else self.among)]

    def detect(self, images: Tensor) -> Tensor:
        """Whether the oracle detects each attribute: bool [B,A]."""
        return view(self.oracle, "black_box", 256, images.device).probability(images) > 0.5

    def column(self, attribute: str) -> int:
        """The oracle's output for an attribute. Raises: ValueError naming the attributes that exist."""
        names = list(self.dataset.attribute_names)
        if attribute not in names:
            way = (
                "choose dataset.label=<attribute>, say metrics.<name>.attribute (of MNAC .without), or drop it with "
                "~metrics.<name>"
            )
            raise ValueError(
                f"metric {type(self).__name__}: attribute must be one of {', '.join(names)}, got {attribute!r}: {way}"
            )
        return names.index(attribute)


@dataclass(kw_only=True)
class MNAC(AttributeMetric):
    """Mean number of attributes that change, including the explained one.

    A counterfactual that fools the classifier without changing the explained attribute has a good score; see TargetSeen
    and `without`.

    Source: Rodriguez et al. (2021), https://arxiv.org/abs/2103.10226; Jeanneret, Simon & Jurie (2022), DiME,
        https://hal.science/hal-04583065, section 4 and code. Departures: the oracle.
    Args:
        without: an attribute that does not count, such as the explained one; None = all count, as in the paper.
        share: divide by the number of attributes that count, so that data sets with different numbers are comparable.
    Cost: two forward passes of the oracle per image.
    """

    direction: ClassVar = "lower"

    without: Annotated[str | None, OmitDefault()] = None
    share: Annotated[bool, OmitDefault()] = False

    @cached_property
    def counts(self) -> list[int]:
        left_out = None if self.without is None else self.column(self.without)
        names = self.dataset.attribute_names if self.among is None else self.among
        return [column for column in map(self.column, names) if column != left_out]

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        changed = (self.detect(case.batch.image) != self.detect(counterfactual))[:, self.counts].sum(1)
        return {"value": changed.double() / len(self.counts) if self.share else changed}


@dataclass(kw_only=True)
class TargetSeen(AttributeMetric):
    """Whether an independent network detects that the explained attribute changed towards the goal.

    A success without a detected change either fooled the explained classifier (an adversarial example) or is an error
    of the independent network. The row of re-rendered faces shows the network's errors alone.

    Images in which the network already detects the goal do not count, because no change can be detected. The summary's
    details hold their number ("left_out").

    The class that has the attribute is the class with its name, or the second of two classes with other names.

    Source: own; a check that DiME's MNAC and CD lack, because they count this attribute like all others. Departures:
        none.
    Args: attribute: the explained attribute.
    Cost: two forward passes of the oracle per image.
    Raises: ValueError when no class has the attribute's name and there are more than two classes.
    """

    revision: ClassVar[int] = 2  # 1 took a change away from the goal for one towards it
    direction: ClassVar = "higher"

    attribute: str = "Smiling"

    def score(self, case: Case) -> dict[str, Tensor]:
        rows = super().score(case)
        counts = rows["counted"] * (1 - rows["settled"].to(rows["counted"]))
        value = rows["value"].masked_fill(counts.to(rows["value"].device) < 0.5, torch.nan)
        return {"value": value, "counted": counts, "left_out": rows["counted"] - counts}

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        """Detects the goal in the counterfactual ("value") and in the image ("settled")."""
        column, before = self.column(self.attribute), self.detect(case.batch.image)
        wanted = case.explanation.extra["goal"].long().to(before.device) == self.present(case.classifier.num_classes)
        return {
            "value": (self.detect(counterfactual)[:, column] == wanted).double(),
            "settled": (before[:, column] == wanted).float(),
        }

    def present(self, num_classes: int) -> int:
        """The index of the class that has the attribute."""
        names = list(self.dataset.class_names)
        if self.attribute in names:
            return names.index(self.attribute)
        if num_classes == 2:
            return 1
        raise ValueError(
            f"metric TargetSeen: attribute must be the name of a class ({', '.join(names)}), got {self.attribute!r}"
        )

    def summarize(self, rows: dict[str, Tensor], reference: dict[str, Tensor]) -> Summary:
        return replace(super().summarize(rows, reference), details={"left_out": float(rows["left_out"].sum())})


@dataclass(kw_only=True)
class CorrelationDifference(AttributeMetric):
    """Difference between the correlations of attribute changes and the correlations in the data: the sum over
    attributes of |corr(change, change of the query) - corr(data)|.

    Source: Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, section 4.2 ("CD") and code.
        Changes are -1, 0 or 1. The data's correlations are exact if the data set has a causal model, otherwise those of
        the training labels. Departures: an attribute that never changes has correlation 0 (as in ACE's code; DiME's
        gives NaN). The details hold a bootstrap interval over images. An explainer that changes only the target does
        not score 0, but the sum of the data's absolute correlations with the target.
    Args:
        attribute: the query, which is the classifier's attribute.
        n_labels: number of training images whose labels are counted when the exact correlations are unknown; None =
            all.
        n_resamples: resamples of the bootstrap.
    Cost: two forward passes of the oracle per image. The score is a set statistic. It is noisy for rare attributes, so
        read the interval.
    """

    direction: ClassVar = "lower"

    attribute: str = "Smiling"
    n_labels: Count | None = None
    n_resamples: Count = 1000

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        if hasattr(training, "attribute_correlation"):
            whole = training.attribute_correlation()
        else:
            rows = training.order()[: self.n_labels].tolist()
            whole = torch.corrcoef(training.read_attributes(rows).double().T).nan_to_num()
        return {"correlation": whole[self.column(self.attribute)]}

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        return {"change": self.detect(counterfactual).to(torch.int8) - self.detect(case.batch.image).to(torch.int8)}

    def values(self, rows: dict[str, Tensor]) -> Tensor | None:
        return None

    def summarize(self, rows: dict[str, Tensor], reference: dict[str, Tensor]) -> Summary:
        change = rows["change"][rows["counted"] > 0.5].double()
        n, query = len(change), self.column(self.attribute)
        if n < 2:
            return Summary(mean=float("nan"), std=None, n=n, details={"never_changed": float(len(self.counts))})
        truth = reference["correlation"].double().cpu()

        def apart(changes: Tensor) -> Tensor:
            return (correlations(changes, query) - truth)[:, self.counts].abs().sum(1)

        drawn = torch.randint(n, (self.n_resamples, n), generator=torch.Generator().manual_seed(0))
        spread = torch.cat([apart(change[sample]) for sample in drawn.split(100)])
        low, high = spread.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
        never = float((change == 0).all(0)[self.counts].sum())
        return Summary(
            mean=float(apart(change[None])), std=None, n=n, details={"low": low, "high": high, "never_changed": never}
        )

    def resampled(self, rows: dict[str, Tensor], reference: dict[str, Tensor], weights: Tensor) -> Tensor:
        """The score of each resample. Images that do not count have weight 0, so methods with different successes
        are compared on the same resample."""
        weights = weights * (rows["counted"] > 0.5)
        truth = reference["correlation"].double().cpu()
        correlation = weighted_correlations(rows["change"].double(), weights, self.column(self.attribute))
        apart = (correlation - truth)[:, self.counts].abs().sum(1)
        return apart.masked_fill(weights.gt(0).sum(1) < 2, torch.nan)


def correlations(change: Tensor, query: int) -> Tensor:
    """Pearson correlation of every column with the query column, 0 where one is constant: [R,n,A] -> [R,A]."""
    centred = change - change.mean(1, keepdim=True)
    size = centred.square().sum(1).sqrt()
    both = (centred * centred[..., query : query + 1]).sum(1)
    return torch.where(size * size[:, query, None] > 0, both / (size * size[:, query, None]).clamp_min(1e-300), 0.0)


def weighted_correlations(change: Tensor, weights: Tensor, query: int) -> Tensor:
    """`correlations` with weighted images: [n,A], weights [R,n] -> [R,A]."""
    share = weights / weights.sum(1, keepdim=True).clamp_min(1e-300)
    mean, both = share @ change, share @ (change * change[:, query : query + 1])
    variance = (share @ change.square() - mean.square()).clamp_min(0)
    variance = torch.where(variance > 1e-12, variance, 0.0)  # constant up to rounding
    size = variance.sqrt() * variance[:, query, None].sqrt()
    return torch.where(size > 0, (both - mean * mean[:, query, None]) / size.clamp_min(1e-300), 0.0)


@dataclass(kw_only=True)
class FactorError(AttributeMetric):
    """Number of wrong attributes of a counterfactual. The explained attribute should have changed, and all others
    should equal those of the image's true causes.

    Source: own; for data sets whose attributes are known exactly. The score includes the oracle's errors, which the row
        of `ideal_counterfactual` shows.
    Args: attribute: the explained attribute.
    Cost: one forward pass of the oracle per image.
    """

    direction: ClassVar = "lower"
    needs = frozenset({"explanation", "classifier", "attributes"})

    attribute: str = "Smiling"

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        wanted = case.batch.attributes.clone()
        column = self.column(self.attribute)
        wanted[:, column] = ~wanted[:, column]
        wrong = self.detect(counterfactual).to(wanted.device) != wanted
        return {"value": wrong[:, self.counts].sum(1), "wrong": wrong.float()}
