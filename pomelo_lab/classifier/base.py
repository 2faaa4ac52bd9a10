"""Classifiers, and the black-box and white-box views of them that explainers and metrics receive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pomelo_lab.batching import MicroBatches, in_full_rows, out_of_memory, with_copies
from pomelo_lab.classifier.answers import check_probabilities
from pomelo_lab.classifier.layers import FunctionModule, StopForward, capture_input, list_stages, named_layer
from pomelo_lab.config.signature import Component
from pomelo_lab.runtime.originals import Originals
from pomelo_lab.throughput import FASTEST, BatchSize, FastestBatches, micro_batches, without_trial
from pomelo_lab.types import TOLERANCE, Perturbations

Make = Callable[[int, int], Tensor]  # (start, stop) -> images [stop-start,C,H,W]
Ask = Callable[[Tensor], Tensor]  # images [M,C,H,W] -> answers [M,K]


class Classifier(Component, ABC):
    """Answers class probabilities for images in [0,1]. Its own input scaling is part of it.

    access: "black_box" = probabilities only; "white_box" = logits, features and layers too.
    """

    access: ClassVar[str] = "black_box"
    num_classes: int
    class_names: Sequence[str] | None = None  # of the outputs; None = those of the job's data set

    @abstractmethod
    def probability(self, images: Tensor) -> Tensor:
        """Class probabilities of images: [M,C,H,W] in [0,1] -> [M,K].

        All images are one batch. The views of a classifier cut images into micro-batches.
        """

    @abstractmethod
    def digest(self) -> str:
        """A short text that changes when the answers change. It covers architecture and weights, never a path."""

    def to(self, device: torch.device | str) -> Classifier:
        """Moves to a device. A classifier that lives elsewhere, such as a service, may ignore it."""
        return self


class NetworkClassifier(Classifier):
    """A torch network as classifier: logits, penultimate features, named layers. Subclasses provide `network`.

    Shapes: images [M,C,H,W] in [0,1] -> logit [M,K], feature [M,D].
    """

    access = "white_box"
    network: nn.Module
    output: str = "softmax"  # or "sigmoid" for independent attributes
    # the layer of a bottleneck whose config names none; its maps have an eighth to a quarter of the image's side
    middle: str | None = None

    def normalized(self, images: Tensor) -> Tensor:
        """Scales images from [0,1] as the network expects them. The scaling is differentiable."""
        return images

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the parts that the sanity check randomises one after another, from the output down: by default
        those of `list_stages`."""
        return list_stages(self.network)

    @property
    @abstractmethod
    def head(self) -> nn.Module:
        """The last linear layer; its input is the penultimate feature."""

    def logit(self, images: Tensor, eager: bool = False) -> Tensor:
        """Logits of images: [M,C,H,W] in [0,1] -> [M,K]. eager = by the network itself, whose hooks are called."""
        return self.network(self.normalized(images))

    def made_from(self, originals: Originals) -> AbstractContextManager[None]:
        """A context in which the classifier is asked about images that were made from known ones. A network that knows
        how to use that may answer faster; the answers are the same."""
        return nullcontext()

    def check_shape(self, shape: Sequence[int], device: torch.device | str = "cpu") -> None:
        """Raises ValueError when the network cannot take images of shape [C,H,W]. One gray image is tried."""
        try:
            with torch.no_grad():
                self.logit(torch.full((1, *shape), 0.5, device=device), eager=True)
        except (RuntimeError, AssertionError, ValueError) as error:
            if out_of_memory(error):
                raise
            name, reason = getattr(self, "architecture", type(self).__name__), str(error).strip().splitlines()[0]
            raise ValueError(
                f"dataset.size_px: the classifier {name} cannot take images of {'x'.join(map(str, shape))}: {reason}"
            ) from error

    def probability(self, images: Tensor) -> Tensor:
        logits = self.logit(images)
        return logits.softmax(-1) if self.output == "softmax" else logits.sigmoid()

    def feature(self, images: Tensor) -> Tensor:
        """Penultimate features of images, which are the flattened input of the last linear layer: -> [M,D]."""
        with capture_input(self.head) as inputs:
            self.logit(images, eager=True)
        return inputs[0].flatten(1).float()

    def activations(self, images: Tensor, layers: Sequence[str]) -> list[Tensor]:
        """Outputs of the named layers for images, in the order of the names: [M,D,h,w] each for a convolution."""
        outputs: dict[str, Tensor] = {}

        def forward(images: Tensor) -> list[Tensor]:
            self.logit(images, eager=True)
            return [outputs[name].float() for name in layers]

        handles = [
            self.layer(n).register_forward_hook(lambda _, __, output, name=n: outputs.__setitem__(name, output))
            for n in layers
        ]
        try:
            return in_full_rows(forward, images)
        finally:
            for handle in handles:
                handle.remove()

    def layers(self) -> dict[str, nn.Module]:
        """Every named module of the network."""
        return dict(self.network.named_modules())

    def layer(self, name: str) -> nn.Module:
        """One named module. Raises ValueError listing near names."""
        return named_layer(self.network, name)

    def bottleneck(self, name: str | None) -> nn.Module:
        """The named layer, or the classifier's default for bottlenecks. Raises ValueError when it has none."""
        if (name or self.middle) is None:
            raise ValueError(
                f"explainer.layer must name a layer: {type(self).__name__} has no customary one; known: "
                f"{', '.join(self.layers())[2:]}"
            )
        return self.layer(name or self.middle)

    def to(self, device: torch.device | str) -> Classifier:
        self.network.to(device)
        return self


class BlackBox:
    """The view of a classifier for black-box explainers and metrics: counted probabilities without gradients.

    queries: images answered so far.
    Cost: one forward per image; at most `forwards.batch_size` at once.
    """

    def __init__(self, classifier: Classifier, forwards: MicroBatches, device: torch.device | str = "cpu") -> None:
        self._classifier = classifier
        self._limit = torch.inf if isinstance(classifier, NetworkClassifier) else TOLERANCE  # beyond [0,1]
        self._forwards = forwards
        self.device = torch.device(device)
        self.num_classes = classifier.num_classes
        self.queries = 0

    def probability(self, images: Tensor) -> Tensor:
        """Probabilities of images: [..., C,H,W] float in [0,1] or uint8 -> float32 [..., K].

        Raises: ValueError when `images` carry a gradient: a black box cannot be differentiated.
        """
        flat = images.reshape(-1, *images.shape[-3:])
        return self.probability_of(lambda start, stop: flat[start:stop], len(flat)).reshape(*images.shape[:-3], -1)

    def probability_of(
        self, make: Make, n: int, target: Tensor | None = None, originals: Originals | None = None
    ) -> Tensor:
        """Probabilities of n images that are made one micro-batch at a time.

        Args:
            make: makes the images of the rows of a micro-batch.
            target: int64 [n], the class whose probability is answered for each image; None = all classes.
            originals: of the n images, if they were made from known images by small changes. It affects the time only.
        Shapes: -> [n,K], or [n] with a target.
        Raises: NotProbabilities when an answer is NaN or infinite or, of a classifier that is no network of this
            package, outside [0,1].
        """
        probabilities = self._answers(self._classifier.probability, make, n, target, originals)
        check_probabilities(probabilities, self._limit, make)
        self.queries += n
        return probabilities

    def _answers(self, function: Ask, make: Make, n: int, target: Tensor | None, originals: Originals | None) -> Tensor:
        """A function of the classifier for n images, in micro-batches and without gradients; see `probability_of`."""

        def answer(start: int, stop: int) -> Tensor:
            images = make(start, stop)
            if images.requires_grad:
                raise ValueError(
                    "a black-box classifier cannot be differentiated: the explainer needs access='white_box'"
                )
            images = Perturbations.dequantize(images) if images.dtype == torch.uint8 else images
            rows = slice(start, stop)
            answers = self._ask(function, images.to(self.device), originals and originals.select(originals.row[rows]))
            answers = answers.detach().float()
            return answers if target is None else answers.gather(1, target[rows, None].to(answers.device))[:, 0]

        with torch.inference_mode(False), torch.no_grad():
            return self._forwards.rows(answer, n)

    def _ask(self, function: Ask, images: Tensor, originals: Originals | None) -> Tensor:
        """A function of the classifier for one micro-batch."""
        if not isinstance(self._classifier, NetworkClassifier):
            return function(images)  # a user's function is not asked for rows that fill up a batch
        if originals is None:
            return in_full_rows(function, images)

        def changed(images: Tensor, row: Tensor) -> Tensor:
            with self._classifier.made_from(originals.select(row)):
                return function(images)

        return in_full_rows(changed, images, originals.row)


class WhiteBox(BlackBox):
    """The view of a classifier for white-box explainers: also logits, features and layers, with gradients.

    `logit` and `differentiable_probability` make no micro-batches and keep the graph. Their images are counted too.
    """

    def __init__(
        self, classifier: NetworkClassifier, forwards: MicroBatches, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(classifier, forwards, device)
        # of rows with a forward and a backward pass each
        fastest = isinstance(forwards, FastestBatches)
        self.gradients = micro_batches(FASTEST, classifier, device, "gradients") if fastest else forwards
        self.forwards = without_trial(forwards)  # of whole images with gradients

    @property
    def network(self) -> nn.Module:
        return self._classifier.network

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the classifier's parts, from the output down."""
        return self._classifier.stages

    def logit(self, images: Tensor) -> Tensor:
        """Logits of images: [M,C,H,W] -> [M,K], differentiable."""
        self.queries += len(images)
        return self._classifier.logit(images)

    def differentiable_probability(self, images: Tensor) -> Tensor:
        """Probabilities of images: [M,C,H,W] -> [M,K], differentiable."""
        self.queries += len(images)
        return self._classifier.probability(images)

    def logit_of(self, make: Make, n: int, target: Tensor, originals: Originals | None = None) -> Tensor:
        """As `probability_of` with a target: its logits [n], in micro-batches and without gradients."""
        self.queries += n
        return self._answers(self._classifier.logit, make, n, target, originals)

    def log_odds(self, images: Tensor, target: Tensor) -> Tensor:
        """log p - log(1 - p) of each image's target, from logits, so that it is exact where p rounds to 0 or 1.

        Shapes: images [M,C,H,W], target int64 [M] -> [M], differentiable.
        """
        self.queries += len(images)
        logit = in_full_rows(self._classifier.logit, images)
        chosen = logit.gather(1, target[:, None])[:, 0]
        if self._classifier.output == "sigmoid":
            return chosen
        return chosen - logit.scatter(1, target[:, None], -torch.inf).logsumexp(1)

    def feature(self, images: Tensor) -> Tensor:
        """Penultimate features [M,D], in micro-batches, without gradients; uint8 images are scaled to [0,1]."""

        def features(part: Tensor) -> Tensor:
            part = Perturbations.dequantize(part) if part.dtype == torch.uint8 else part
            return in_full_rows(self._classifier.feature, part.to(self.device)).float()

        self.queries += len(images)
        with torch.no_grad():
            return self._forwards(features, images)

    def layer(self, name: str) -> nn.Module:
        return self._classifier.layer(name)

    def activation(self, images: Tensor, layer: nn.Module) -> Tensor:
        """Output of one layer for images [M,C,H,W], float32 and differentiable. The forward ends at that layer."""

        def stop(_: nn.Module, __: Any, output: Tensor) -> None:
            raise StopForward(output)

        def forward(images: Tensor) -> Tensor:
            try:
                self._classifier.logit(images, eager=True)
            except StopForward as stopped:
                return stopped.output.float()
            name, kind = type(layer).__name__, type(self._classifier).__name__
            raise ValueError(f"layer {name} takes no part in the answers of {kind}")

        self.queries += len(images)
        handle = layer.register_forward_hook(stop)
        try:
            return in_full_rows(forward, images)
        finally:
            handle.remove()

    def module(self, answer: str = "logit") -> nn.Module:
        """A torch module from images in [0,1] to logits or probabilities, for libraries that set hooks."""
        function = self.logit if answer == "logit" else self.differentiable_probability
        return FunctionModule(self.network, function, self._classifier.logit)

    @contextmanager
    def replace_output(self, layer: nn.Module, output: Tensor):
        """A context in which a layer returns `output`, one row per image, for any input. Copies of the last image that
        fill up a batch get a copy of its row."""

        def replaced(_: nn.Module, __: Any, given: Tensor) -> Tensor:
            # always a new tensor, because an activation may change it in place
            return with_copies(output.to(given.dtype), len(output), len(given) - len(output))

        handle = layer.register_forward_hook(replaced)
        try:
            yield
        finally:
            handle.remove()

    def bottleneck(self, name: str | None) -> nn.Module:
        """The named layer, or the classifier's default for bottlenecks."""
        return self._classifier.bottleneck(name)


def view(classifier: Classifier, access: str, batch_size: BatchSize, device: Any = "cpu") -> BlackBox:
    """The view that `access` ("black_box" or "white_box") grants.

    Args: batch_size: forwards at once; "auto" = the fastest number, found on the first rows.
    Raises: ValueError when white-box access is asked of a black box.
    """
    forwards = micro_batches(batch_size, classifier, device)
    if access == "black_box":
        return BlackBox(classifier, forwards, device)
    if not isinstance(classifier, NetworkClassifier):
        raise ValueError(
            f"classifier {type(classifier).__name__} is a black box: it has no logits, features or gradients"
        )
    return WhiteBox(classifier, forwards, device)
