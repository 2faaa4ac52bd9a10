"""Training of classifiers: cross-entropy over classes, or over each attribute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.classifier.network import TrainableClassifier
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.training.augment import augment
from pomelo_lab.training.module import Training
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.types import Batch


class ClassifierTraining(Training):
    """Trains a classifier by cross-entropy.

    A softmax classifier learns `Batch.label`; images with the label -1 (unknown) do not count. A sigmoid classifier
    learns `Batch.attributes`.
    """

    def __init__(self, classifier: TrainableClassifier, recipe: Recipe, dataset: Dataset) -> None:
        if classifier.column is not None:
            raise ValueError(
                "classifier.column chooses among the outputs of a trained network: train it whole, with "
                "output=sigmoid and no column"
            )
        super().__init__(classifier.network, recipe)
        self.classifier = classifier
        self.names = dataset.class_names if classifier.output == "softmax" else dataset.attribute_names

    def training_batch(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        answer = {"label": batch.label} if self.classifier.output == "softmax" else {"attributes": batch.attributes}
        return {"image": augment(batch.image, self.recipe, rng), **answer}

    def loss(self, given: Mapping[str, Tensor]) -> Tensor:
        logits, smooth = self.classifier.logit(given["image"]), self.recipe.label_smoothing
        if self.classifier.output == "softmax":
            known = (given["label"] >= 0).sum().clamp(min=1)
            return (
                F.cross_entropy(logits, given["label"], ignore_index=-1, label_smoothing=smooth, reduction="sum")
                / known
            )
        wanted = given["attributes"].to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, wanted * (1 - smooth) + 0.5 * smooth)

    def score(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.classifier.logit(batch.image)
        if self.classifier.output == "softmax":
            return {"answer": logits.argmax(-1), "truth": batch.label}
        return {"answer": logits > 0, "truth": batch.attributes}

    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        answer, truth = scores["answer"], scores["truth"]
        if self.classifier.output == "softmax":
            answer, truth = answer[truth >= 0], truth[truth >= 0]
            right = (answer == truth).double()
            of_class = {n: right[truth == k].mean().item() for k, n in enumerate(self.names) if (truth == k).any()}
            return {"accuracy": right.mean().item(), "accuracy_per_class": of_class, "n": len(truth)}
        right, rate = (answer == truth).double().mean(0), truth.double().mean(0)
        rows: list[Mapping[str, float]] = [
            {"accuracy": a, "rate": r, "balanced_accuracy": balanced_accuracy(answer[:, k], truth[:, k])}
            for k, (a, r) in enumerate(zip(right.tolist(), rate.tolist(), strict=True))
        ]
        return {
            "accuracy": right.mean().item(),
            "accuracy_per_attribute": dict(zip(self.names, rows, strict=True)),
            "n": len(truth),
        }


def balanced_accuracy(answer: Tensor, truth: Tensor) -> float | None:
    """The balanced accuracy: the mean of sensitivity and specificity. None when all truths are equal."""
    if not truth.any() or truth.all():
        return None
    return 0.5 * (answer[truth].double().mean() + (~answer[~truth]).double().mean()).item()
