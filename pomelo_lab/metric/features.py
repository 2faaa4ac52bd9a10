"""Penultimate features of networks, in which metrics compare sets of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.classifier.base import BlackBox, NetworkClassifier, WhiteBox, view
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.metric.base import Metric


@dataclass(kw_only=True)
class FeatureMetric(Metric):
    """The base class of metrics that compare perturbed images in the penultimate features of a network.

    Args:
        embedder: the network ("a pretrained model" in POMELO, section 3.1). None = the explained classifier, which must
            then give features; with an embedder the classifier may be a black box.
    """

    needs = frozenset({"white_box", "perturbations"})

    embedder: NetworkClassifier | None = None

    @classmethod
    def needs_for(cls, given: Mapping[str, Any]) -> frozenset[str]:
        return cls.needs if given["embedder"] is None else cls.needs - {"white_box"}

    def network(self, classifier: BlackBox) -> WhiteBox:
        """The network that gives the features."""
        return classifier if self.embedder is None else view(self.embedder, "white_box", 256, classifier.device)


def training_features(training: Dataset, classifier: WhiteBox, n: int) -> tuple[Tensor, Tensor]:
    """Penultimate features [n,D] and labels [n] of the first n images of the training order, read 256 images at a time.

    Raises: ValueError naming the first image whose features are not finite.
    """
    pairs = []
    for indices in training.order()[:n].split(256):
        batch = training.unmasked(indices.tolist())
        feature = classifier.feature(batch.image)
        if not (finite := feature.isfinite().all(1)).all():
            name = batch.image_id[int(finite.long().argmin())]
            raise ValueError(
                f"features of {type(classifier.network).__name__} are not finite for the image {name}: "
                f"are its weights whole?"
            )
        pairs.append((feature, batch.label.to(classifier.device)))
    features, labels = zip(*pairs, strict=True)
    return torch.cat(features), torch.cat(labels)
