"""What the network classifiers share: how they are initialised, filled from a file, frozen, identified and trained."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.classifier.weights import load, state_digest
from pomelo_lab.config.fingerprint import canonical, digest

if TYPE_CHECKING:
    from pomelo_lab.training.module import Training
    from pomelo_lab.training.recipe import Recipe


class TrainableClassifier(NetworkClassifier):
    """A network of ours or of a model zoo that is filled from a weights file. Subclasses are keyword-only dataclasses.

    Args:
        num_classes: outputs; None = the job fills in the number of classes (softmax) or attributes (sigmoid) of the data set.
        weights: a .safetensors file, or a .pt/.pth state dict; None = untrained. In a config `auto` stands for the weights
            that fit: shipped, trained earlier, or trained on first use (the job resolves it, not the constructor).
        output: softmax = one of the classes; sigmoid = independent attributes.
        init_seed: of the initial weights, independent of the global RNG.
    Random: none after construction; parameters are frozen and the network is in evaluation mode.
    Raises: ValueError when the file does not fit, naming `classifier.weights`, the path and the first names that differ.
    """

    num_classes: int | None
    weights: str | None
    init_seed: int
    ignored: ClassVar[tuple[str, ...]] = ()  # first parts of names in weights files that the network leaves out

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_classes is None:
            raise ValueError("classifier.num_classes is missing: the job fills it from the data set, Python users pass it")
        if self.weights == "auto":
            raise ValueError("classifier.weights=auto is for configs: in Python use pomelo_lab.train.ensure_weights, a path or None")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.init_seed)
            self.network = self.make_network()
        if self.weights is not None:
            load(self.network, self.weights, self.described(), ignore=self.ignored)
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def described(self) -> str:
        """Class and arguments, without weights, for messages."""
        shown = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if f.init and f.name not in ("weights", "init_seed")]
        return f"{type(self).__name__}({', '.join(shown)})"

    @abstractmethod
    def make_network(self) -> nn.Module:
        """A freshly initialised network; called once, with torch's seed set."""

    def logit(self, images: Tensor) -> Tensor:
        # channels-last kernels answer up to twice as many images per second on a CPU (measured), never fewer beyond noise
        return self.network(self.normalized(images.contiguous(memory_format=torch.channels_last)))

    def digest(self) -> str:
        node = {"_target_": f"{type(self).__module__}.{type(self).__qualname__}"}
        node |= {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return digest({"config": canonical(node, drop=("weights", "init_seed")), "state": state_digest(self.network)})

    def training_module(self, recipe: Recipe, dataset: Any) -> Training:
        """How the classifier is trained: what pomelo_lab.train asks of anything trainable."""
        from pomelo_lab.classifier.training import ClassifierTraining

        return ClassifierTraining(self, recipe, dataset)


def standardized(images: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """(images - mean) / std."""
    return (images - mean) / std
