"""An ONNX file as a black-box classifier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from pomelo_lab.classifier.base import Classifier
from pomelo_lab.classifier.downloads import missing_package
from pomelo_lab.classifier.foreign import PREPARATION, Interpolation, prepared
from pomelo_lab.config.fingerprint import coerce, digest, file_digest
from pomelo_lab.config.hints import Count, NotFingerprinted, Positive, Weights
from pomelo_lab.config.signature import hints
from pomelo_lab.runtime.base import CannotPrepare
from pomelo_lab.runtime.onnx import open_session, run


@dataclass(kw_only=True)
class OnnxClassifier(Classifier):
    """The network in an ONNX file, computed by onnxruntime. It answers probabilities, without gradients.

    Source: onnxruntime, https://onnxruntime.ai. Departures: none.
    Args:
        file: a .onnx file whose one input is float32 images [B,C,H,W] and whose first output is [B,K]. Where its B is
            a number, images are asked in batches of that number, the last of which is filled up.
        output: what the file answers: softmax = logits of classes, sigmoid = logits of independent attributes,
            probability = probabilities.
        mean, std: input scaling (image - mean) / std, one number or one per channel; None = 0 and 1.
        input_px: the side or [height, width] to which images are resized first, antialiased; None = the size that the
            file names, else images keep theirs.
        interpolation: of the resizing; None = bilinear.
        class_names: names of the outputs, which `target` may name; None = those of the data set.
        image_shape: [C,H,W] of the images; None = those of the job's data set, or of the file.
    Shapes: images [M,C,H,W] in [0,1] -> probabilities [M,K].
    Cost: one forward per image.
    Random: none.
    Raises: ValueError when onnxruntime is not installed or has no such device, when the file cannot be read, or when it
        answers another shape.
    """

    file: Annotated[str, Weights()]
    output: Literal["softmax", "sigmoid", "probability"] = "softmax"
    mean: float | list[float] | None = None
    std: Positive | list[Positive] | None = None
    input_px: Count | list[Count] | None = None
    interpolation: Interpolation | None = None
    class_names: list[str] | None = None
    image_shape: Annotated[list[Count] | None, NotFingerprinted()] = None
    _session: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not Path(self.file).expanduser().is_file():
            raise ValueError(f"classifier.file: there is no file {self.file}")
        self.to("cpu")
        shape = self._session.get_inputs()[0].shape
        if len(self._session.get_inputs()) != 1 or len(shape) != 4:
            raise ValueError(f"{self.name} must have one input, images [B,C,H,W], got {shape}")
        self._rows, *sizes = (size if isinstance(size, int) else None for size in shape)
        if self.input_px is None and None not in sizes[1:]:
            self.input_px = sizes[1:]
        image = [known or given for known, given in zip(sizes, self.image_shape or [3, None, None], strict=True)]
        if None in image:
            raise ValueError(
                "classifier.image_shape is missing: the job fills it from the data set, Python users pass it"
            )
        answer = self._answer(torch.full((2, *(self.image_shape or image)), 0.5))
        if answer.ndim != 2 or len(answer) != 2:
            raise ValueError(f"{self.name} must answer [B,K], got {list(answer.shape)} for 2 images")
        self.num_classes = answer.shape[1]
        if self.class_names is not None and len(self.class_names) != self.num_classes:
            raise ValueError(
                f"classifier.class_names must be {self.num_classes} names, the outputs of {self.name}, got "
                f"{len(self.class_names)}"
            )

    @property
    def name(self) -> str:
        """The key that names the network, and its value, for messages."""
        return f"classifier.file={self.file}"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports that onnxruntime is not installed."""
        if text := missing_package("onnxruntime", "onnx"):
            yield f"file {text}"

    @classmethod
    def source(cls, given: Mapping[str, Any]) -> list[str]:
        """The contents of the file, and of the file of its weights that large networks have beside it."""
        files = (Path(given["file"]).expanduser(), Path(f"{given['file']}.data").expanduser())
        return [file_digest(file) for file in files if file.is_file()]

    def probability(self, images: Tensor) -> Tensor:
        answer = self._answer(images)
        if self.output == "probability":
            return answer
        return answer.softmax(-1) if self.output == "softmax" else answer.sigmoid()

    def _answer(self, images: Tensor) -> Tensor:
        """What the file answers for images in [0,1]."""
        given, n = prepared(self, images).float(), self._rows or max(len(images), 1)
        try:
            parts = [run(self._session, (fill_up(part, self._rows),))[: len(part)] for part in given.split(n)]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(
                f"{self.name} cannot take images of {'x'.join(map(str, images.shape[1:]))}: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
        return torch.cat(parts).float()

    def digest(self) -> str:
        known = hints(type(self))
        arguments = {name: coerce(getattr(self, name), known[name]) for name in (*PREPARATION, "output", "class_names")}
        return digest({"onnx": self.source(vars(self)), **arguments})

    def to(self, device: torch.device | str) -> Self:
        try:
            self._session = open_session(str(Path(self.file).expanduser()), torch.device(device))
        except CannotPrepare as error:
            raise ValueError(f"device={device}: onnxruntime cannot compute {self.name}: {error}") from None
        except Exception as error:
            raise ValueError(f"{self.name} cannot be read: {str(error).strip().splitlines()[0]}") from None
        return self


def fill_up(images: Tensor, rows: int | None) -> Tensor:
    """Images, filled up with zeros to a number of rows; None = as they are."""
    return images if rows is None else pad(images, (0, 0, 0, 0, 0, 0, 0, rows - len(images)))
