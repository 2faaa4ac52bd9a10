"""The base of classifiers around networks that were made elsewhere: by a user's code, timm, Hugging Face."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.classifier.layer_search import find_head, find_middle, watch_layers
from pomelo_lab.classifier.layers import named_layer
from pomelo_lab.classifier.network import WeightedClassifier, standardized
from pomelo_lab.config.fingerprint import coerce
from pomelo_lab.config.hints import Count, NotFingerprinted, Positive
from pomelo_lab.config.signature import hints

log = logging.getLogger(__name__)
Interpolation = Literal["bilinear", "bicubic", "nearest"]
PREPARATION = ("mean", "std", "input_px", "interpolation")


@dataclass(kw_only=True)
class ForeignClassifier(WeightedClassifier, ABC):
    """A classifier around a network that another library or a user's code makes.

    The network answers logits [B,K], as a tensor or in an object with `logits`. K, the last linear layer and a middle
    layer are found in one forward pass when the classifier is built. Modules do not work in place. Gray images are
    repeated to three channels where `mean` has three values.

    Args:
        mean, std: input scaling (image - mean) / std, one number or one per channel; None = those that come with the
            network, else 0 and 1.
        input_px: the size of the network's images, a side or [height, width], to which images are resized first,
            differentiably and antialiased. Segments, masks and maps keep the size of the images. None = the size that
            comes with the network, else the images keep theirs.
        interpolation: of the resizing; None = that which comes with the network, else bilinear.
        output: softmax = each image has one class; sigmoid = each image has any of several attributes.
        class_names: names of the outputs, which `target` may name; None = those that come with the network, else those
            of the data set.
        head_layer: the last linear layer, whose input is the penultimate feature; None = found.
        middle_layer: the layer of a bottleneck whose config names none; None = found in networks of maps.
        image_shape: [C,H,W] of the images; None = those of the job's data set, or of `input_px`.
        offline: forbid downloads.
    Raises: ValueError when the network cannot take the images, when its answer is not [B,K], or when `class_names` has
        another length than K.
    """

    mean: float | list[float] | None = None
    std: Positive | list[Positive] | None = None
    input_px: Count | list[Count] | None = None
    interpolation: Interpolation | None = None
    output: Literal["softmax", "sigmoid"] = "softmax"
    class_names: list[str] | None = None
    head_layer: str | None = None
    middle_layer: str | None = None
    image_shape: Annotated[list[Count] | None, NotFingerprinted()] = None
    offline: Annotated[bool, NotFingerprinted()] = False

    column: ClassVar[None] = None  # all outputs are explained
    seeded = False  # what makes the network may also load its weights

    @property
    @abstractmethod
    def architecture(self) -> str:
        """The key that names the network, and its value, for messages."""

    @abstractmethod
    def origin(self) -> Any:
        """What makes the network, besides its weights, as plain JSON values: contents and names inside them, no places
        where they lie."""

    @classmethod
    @abstractmethod
    def source(cls, given: Mapping[str, Any]) -> Any:
        """What makes the network as it is now, before it is built: a digest of the code or the folder."""

    @classmethod
    def more_provenance(cls, given: Mapping[str, Any]) -> Any:
        """What a path of code or of a folder leads to."""
        return cls.source(given)

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports a size with other than two sides."""
        size = given["input_px"]
        if isinstance(size, Sequence) and len(size) != 2:
            yield f"input_px must be a side or [height, width], got {list(size)}"

    def __post_init__(self) -> None:
        super().__post_init__()
        for module in self.network.modules():
            if getattr(module, "inplace", False):
                module.inplace = False
        self.look()

    def prepare(self, **known: Any) -> None:
        """Takes what comes with the network for the arguments that are None. `make_network` calls it."""
        for name, value in known.items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def look(self) -> None:
        """Finds the number of outputs, the head and the middle layer in one forward pass of two images."""
        shape = self.shape_of_a_trial()
        images = torch.linspace(0, 1, 2 * shape.numel()).reshape(2, *shape)
        try:
            with torch.no_grad(), watch_layers(self.network) as calls:
                given = self.normalized(images)
                answer = self.apply(given, eager=True)
        except (RuntimeError, AssertionError, IndexError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{self.architecture} cannot take images of {'x'.join(map(str, shape))} (dataset.size_px, "
                f"classifier.input_px): {reason}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{self.architecture}: {error}") from None
        if answer.ndim != 2 or len(answer) != 2 or (answer.shape[1] < 2 and self.output == "softmax"):
            one = "; the softmax of one output is always 1, take output=sigmoid" if answer.shape[1:] == (1,) else ""
            raise ValueError(
                f"{self.architecture} must answer logits [B,K], got {list(answer.shape)} for 2 images{one}"
            )
        self.num_classes = answer.shape[1]
        if self.output == "softmax" and (answer >= 0).all() and torch.allclose(answer.sum(1), torch.ones(2), atol=1e-5):
            log.warning(
                "%s answers numbers that sum to 1, like probabilities, and a softmax is taken of them: it must answer "
                "logits, so leave out its last softmax (classifier.output=sigmoid takes no softmax either)",
                self.architecture,
            )
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"classifier.class_names must be {self.num_classes} names, the outputs of {self.architecture}, got "
                f"{len(self.class_names)}"
            )
        for name in filter(None, (self.head_layer, self.middle_layer)):
            named_layer(self.network, name)
        self.head_layer = self.head_layer or find_head(calls, answer)
        self.middle = self.middle_layer = self.middle_layer or find_middle(calls, min(given.shape[-2:]))

    def shape_of_a_trial(self) -> torch.Size:
        """The shape [C,H,W] of images: the data set's, or the network's own."""
        if self.image_shape is not None:
            return torch.Size(self.image_shape)
        if self.input_px is None:
            raise ValueError(
                "classifier.image_shape is missing: the job fills it from the data set, Python users pass it or "
                "classifier.input_px"
            )
        return torch.Size((len(self.mean) if isinstance(self.mean, Sequence) else 3, *sides(self.input_px)))

    def normalized(self, images: Tensor) -> Tensor:
        return prepared(self, images)

    @property
    def head(self) -> nn.Module:
        if self.head_layer is None:
            raise ValueError(
                f"classifier.head_layer must name the last linear layer of {self.architecture}: none answers its "
                f"{self.num_classes} logits; known: {', '.join(self.layers())[2:]}"
            )
        return self.layer(self.head_layer)

    def describe(self) -> str:
        return self.architecture

    def identity(self) -> Any:
        """What determines the outputs besides the weights: what makes the network, how images are prepared, which
        layers count as its head and its middle."""
        known = hints(type(self))
        names = (*PREPARATION, "output", "class_names", "head_layer", "middle_layer", "precision")
        return {"network": self.origin(), **{name: coerce(getattr(self, name), known[name]) for name in names}}


def prepared(classifier: Any, images: Tensor) -> Tensor:
    """Images [M,C,H,W] in [0,1], resized and scaled as the arguments `PREPARATION` of a classifier say."""
    if classifier.input_px is not None:
        images = resized(images, sides(classifier.input_px), classifier.interpolation or "bilinear")
    mean, std = (torch.tensor(0.0 if v is None else v).to(images) for v in (classifier.mean, classifier.std))
    std = torch.ones_like(std) if classifier.std is None else std
    if images.shape[1] == 1 and max(mean.numel(), std.numel()) == 3:
        images = images.expand(-1, 3, -1, -1)
    return standardized(images, *(v[:, None, None] if v.ndim else v for v in (mean, std)))


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a side or [height, width]."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def resized(images: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    """Images [M,C,H,W] of another size, antialiased and differentiable. Bicubic values may leave [0,1] slightly."""
    if images.shape[-2:] == size:
        return images
    if interpolation == "nearest":
        return F.interpolate(images, size, mode="nearest-exact")
    return F.interpolate(images, size, mode=interpolation, align_corners=False, antialias=True)
