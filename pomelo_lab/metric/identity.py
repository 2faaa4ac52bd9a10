"""Similarity of image and counterfactual in the features of a network, such as one that recognises faces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox, NetworkClassifier, view
from pomelo_lab.config.hints import Count, Range
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.counterfactual import CounterfactualMetric, Population


@dataclass(kw_only=True)
class Likeness(CounterfactualMetric, ABC):
    """Mean cosine between the features of image and counterfactual."""

    direction: ClassVar = "higher"

    population: Population = "successes"

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """The features that are compared: [B,C,H,W] -> [B,D]."""

    def cosine(self, image: Tensor, other: Tensor) -> Tensor:
        return F.cosine_similarity(self.features(image).double(), self.features(other).double(), dim=1)

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        return {"value": self.cosine(case.batch.image, counterfactual)}


@dataclass(kw_only=True)
class Verification(Likeness, ABC):
    """Whether the cosine between image and counterfactual exceeds a threshold, so that both show the same person.

    Shapes: score also gives "cosine" [B].
    """

    @abstractmethod
    def level(self, case: Case) -> float:
        """The cosine above which two images show one person."""

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        cosine = self.cosine(case.batch.image, counterfactual)
        return {"value": (cosine > self.level(case)).double(), "cosine": cosine.float()}


@dataclass(kw_only=True)
class FeatureSimilarity(Likeness):
    """Mean cosine in features of one of our networks.

    Source: FS and S3 of Jeanneret et al. (2023), https://arxiv.org/abs/2303.09962, which differ in the network:
        VGGFace2's ResNet-50 on successes, SimSiam's encoder on correctly classified images. Departures: the network,
        and therefore the name (FS itself: FaceSimilarity).
    Args: network: the network whose penultimate features are compared; not the explained classifier. The shipped
        identity network was trained on people of portraits. It is refused on other data, where a network trained on
        that data replaces it.
    Cost: two forward passes of the network per image.
    """

    network: NetworkClassifier

    @classmethod
    def dataset_problems(cls, given: Mapping[str, Any], dataset: type[Dataset]) -> Iterator[str]:
        """Reports a network that was trained on other people."""
        weights = given["network"].get("weights") if isinstance(given.get("network"), Mapping) else None
        if str(weights).startswith("zoo:portraits") and not knows_people(dataset):
            yield f"network.weights must be of a network trained for dataset {dataset.__name__}, got {weights}"

    def features(self, images: Tensor) -> Tensor:
        return view(self.network, "white_box", 256, images.device).feature(images)


@dataclass(kw_only=True)
class FVA(Verification, FeatureSimilarity):
    """Face verification accuracy: whether an identity network recognises the same person in image and counterfactual.

    Source: Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, section 4 (VGGFace2's ResNet-50,
        cosine above 0.5: FaceVerification). Departures: the network and its threshold. None = the threshold with equal
        error rates on pairs of one person and pairs of two people, measured on portraits with known identities. Data
        sets without identities need a number.
    Args:
        threshold: cosine from which on two images show one person.
        n_pairs: pairs of each kind that calibrate the threshold.
    """

    threshold: Annotated[float, Range(low=-1, high=1)] | None = None
    n_pairs: Count = 1000

    @classmethod
    def dataset_problems(cls, given: Mapping[str, Any], dataset: type[Dataset]) -> Iterator[str]:
        """Reports a missing threshold for data without identities."""
        yield from super().dataset_problems(given, dataset)
        if given["threshold"] is None and not knows_people(dataset):
            yield f"threshold must be given for dataset {dataset.__name__}, whose people are not known"

    @property
    def fits(self) -> bool:
        return self.threshold is None

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        same, other = people_pairs(training, self.n_pairs)
        first = same[: self.n_pairs].to(classifier.device)
        genuine, impostor = (
            self.cosine(first, images.to(classifier.device)) for images in (same[self.n_pairs :], other)
        )
        threshold, error = equal_error(genuine, impostor)
        return {"threshold": torch.tensor(threshold), "equal_error": torch.tensor(error)}

    def level(self, case: Case) -> float:
        return float(case.reference["threshold"]) if self.threshold is None else self.threshold


def knows_people(dataset: type[Dataset]) -> bool:
    """Whether a data set has identities."""
    from pomelo_lab.dataset.portraits import Portraits

    return issubclass(dataset, Portraits)


def people_pairs(dataset: Dataset, n: int) -> tuple[Tensor, Tensor]:
    """Images of n people and other images of the same people [2n,C,H,W], and images of n other people [n,C,H,W].

    No image is in the training set of the identity network.

    Raises: ValueError for data sets without identities.
    """
    from pomelo_lab.dataset.portraits_identities import PortraitsIdentities

    if not knows_people(type(dataset)):
        raise ValueError(
            f"metric FVA: threshold must be given for dataset {type(dataset).__name__}, whose people are not known"
        )
    people = PortraitsIdentities(split="val", size_px=dataset.size_px, seed=dataset.seed + 1, n_people=n, n_val=3 * n)
    return people.unmasked(range(2 * n)).image, people.unmasked([2 * n + (i + 1) % n for i in range(n)]).image


def equal_error(genuine: Tensor, impostor: Tensor) -> tuple[float, float]:
    """The threshold that rejects as many pairs of one person as it accepts pairs of two people, and its error rate."""
    levels = torch.cat([genuine, impostor]).sort().values
    missed = (genuine[:, None] < levels).double().mean(0)
    let_in = (impostor[:, None] >= levels).double().mean(0)
    best = int((missed - let_in).abs().argmin())
    return float(levels[best]), float((missed[best] + let_in[best]) / 2)
