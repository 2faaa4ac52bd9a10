"""What the network classifiers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.config.hints import Count
from pomelo_lab.network import TrainableNetwork

if TYPE_CHECKING:
    from pomelo_lab.training.module import Training
    from pomelo_lab.training.recipe import Recipe


@dataclass(kw_only=True)
class TrainableClassifier(TrainableNetwork, NetworkClassifier):
    """A network of ours or of a model zoo that is filled from a weights file. Subclasses are keyword-only dataclasses.

    Args:
        num_classes: outputs; None = the job fills in the number of classes (softmax) or attributes (sigmoid) of the data set.
        output: softmax = one of the classes; sigmoid = independent attributes.
    """

    num_classes: Count | None = None
    output: Literal["softmax", "sigmoid"] = "softmax"

    def __post_init__(self) -> None:
        if self.num_classes is None:
            raise ValueError("classifier.num_classes is missing: the job fills it from the data set, Python users pass it")
        super().__post_init__()

    def logit(self, images: Tensor, eager: bool = False) -> Tensor:
        return self.applied(self.normalized(images), eager=eager)

    def layers(self) -> dict[str, nn.Module]:
        self.network._compiled_call_impl = None  # a compiled graph does not see hooks that are set later
        return super().layers()

    def training_module(self, recipe: Recipe, dataset: Any) -> Training:
        from pomelo_lab.classifier.training import ClassifierTraining

        return ClassifierTraining(self, recipe, dataset)


def standardized(images: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """(images - mean) / std."""
    return (images - mean) / std
