"""A user's function as a black-box classifier."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.base import Classifier
from pomelo_lab.classifier.users_code import ask, watch_files
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.config.hints import Count
from pomelo_lab.config.signature import did_you_mean
from pomelo_lab.config.source import code_digest
from pomelo_lab.config.users_module import describe_error
from pomelo_lab.types import to_8_bits

log = logging.getLogger(__name__)

AGAIN = 8  # most copies of the first image that are asked once more
SAME = 0.01  # answers that differ less are equal up to the rounding of half precision


@dataclass(kw_only=True)
class CallableClassifier(Classifier):
    """A user's function from images to class probabilities, such as a service or a network of another framework.

    It receives a copy of the images, which it may change, and is called without gradients. A torch module is put into
    evaluation mode. After the first call the first image is asked again, in a batch of copies. A warning says when the
    answer differs, for example because of dropout or batch statistics.

    Source: own. Departures: none.
    Args:
        function: "package.module:function", or "path/to/file.py:function".
        num_classes: number of classes in an answer; None = the number of classes of the job's data set.
        images: what the function receives. tensor = float32 [M,C,H,W] in [0,1]; numpy = the same as array [M,H,W,C];
            numpy_uint8 = uint8 array [M,H,W,C] in 0..255, as `lime` users have it.
        version: a text that enters the address of stored results, as the code does: the source of the module or file
            and of the user's modules that it imports. Change it when answers change for another reason, such as other
            weights.
    Shapes: the function returns [M,num_classes] as a tensor, an array or lists. Rows should sum to 1.
    Cost: the check after the first call asks for at most 8 more images.
    Random: none; the function must answer the same for the same image.
    Raises: ValueError when the function cannot be found, fails (with its file and line), or answers another shape; a
        warning, once, when rows do not sum to 1, and when the same image has two answers. The black box that asks the
        function refuses NaN and answers outside [0,1], such as logits.
    """

    function: str
    num_classes: Count | None = None
    images: Literal["tensor", "numpy", "numpy_uint8"] = "tensor"
    version: str | int | float = "1"
    _call: Callable[[Any], Any] = field(init=False, repr=False, compare=False)
    _code: str = field(init=False, repr=False, compare=False)
    _warned: bool = field(init=False, repr=False, compare=False, default=False)
    _asked: bool = field(init=False, repr=False, compare=False, default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_classes is None:
            raise ValueError(
                "classifier.num_classes is missing: the job fills it from the data set, Python users pass it"
            )
        self._call, self._code = import_function(self.function), self.source(vars(self))
        if isinstance(self._call, torch.nn.Module):
            self._call.eval()

    @classmethod
    def source(cls, given: Mapping[str, Any]) -> str:
        """Digest of the function's code as it is now."""
        import_function(given["function"])
        return code_digest(split_path(given["function"])[0], "classifier.function")

    def probability(self, images: Tensor) -> Tensor:
        answer = self._answer(images)
        if not self._asked and len(images):
            self._asked = True
            self._ask_again(images[:1].expand(min(len(images), AGAIN), -1, -1, -1), answer[0])
        return answer

    def _ask_again(self, copies: Tensor, first: Tensor) -> None:
        """Warns when an image has another answer among copies of itself than among other images."""
        difference = float((self._answer(copies) - first).abs().nan_to_num(0).max())
        if difference > SAME:
            text = (
                f"classifier.function {self.function} answers the same image differently (by {difference:.2g}) among "
                f"other images"
            )
            log.warning(
                "%s: results depend on chance and batch_size; is a network in training mode (model.eval())?", text
            )

    def _answer(self, images: Tensor) -> Tensor:
        answer = ask(self._call, f"classifier.function {self.function}", self._given(images))
        try:
            answer = torch.as_tensor(answer, device=images.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"classifier.function {self.function} must answer an array, got {type(answer).__name__} ({error})"
            ) from None
        if tuple(answer.shape) != (len(images), self.num_classes):
            raise ValueError(
                f"classifier.function {self.function} must answer [{len(images)}, {self.num_classes}] for "
                f"{len(images)} images "
                f"and {self.num_classes} classes, got {list(answer.shape)}"
            )
        answer = answer.to(torch.float32)
        error = (answer.sum(-1) - 1).abs().max() if len(answer) else answer.new_zeros(())
        if not self._warned and not error <= 1e-3:
            self._warned = True
            text = (
                f"classifier.function {self.function}: rows sum to 1 within {error:.2g} only; are these probabilities?"
            )
            warnings.warn(text, stacklevel=2)
        return answer

    def digest(self) -> str:
        _, name = split_path(self.function)
        return digest(
            {
                "function": [self._code, name],
                "version": str(self.version),
                "num_classes": self.num_classes,
                "images": self.images,
            }
        )

    def _given(self, images: Tensor) -> Any:
        copy = images.detach().clone(memory_format=torch.contiguous_format)
        if self.images == "tensor":
            return copy
        rows = copy.permute(0, 2, 3, 1).cpu()
        return (to_8_bits(rows) if self.images == "numpy_uint8" else rows).contiguous().numpy()


def split_path(path: str, key: str = "classifier.function") -> tuple[str, str]:
    """Splits "package.module:function" into ("package.module", "function")."""
    source, _, name = path.rpartition(":")
    if not source or not name:
        raise ValueError(f"{key} must be package.module:function or file.py:function, got {path!r}")
    return source, name


def import_function(path: str, key: str = "classifier.function") -> Callable[..., Any]:
    """Imports the function at a path. A file can import the modules beside it. Raises ValueError naming the key and
    what is missing."""
    source, name = split_path(path, key)
    with watch_files(f"{key} {path}"):
        module = import_file(source, key) if source.endswith(".py") else import_package(source, key)
    member: Any = module
    for part in name.split("."):
        if not hasattr(member, part):
            raise ValueError(f"{key}: {source} has no {name!r}{did_you_mean(part, dir(member))}")
        member = getattr(member, part)
    if not callable(member):
        raise ValueError(f"{key} {path} is a {type(member).__name__}, not a function")
    return member


def import_package(name: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{key}: cannot import {name}: {error} (is its folder on PYTHONPATH?)") from error
    except Exception as error:
        raise ValueError(f"{key}: {name} failed when it was imported: {describe_error(error)}") from error


def import_file(path: str, key: str) -> ModuleType:
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ValueError(f"{key}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(f"_pomelo_function_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    if str(file.parent) not in sys.path:  # modules beside the file; last, so that they replace no other module
        sys.path.append(str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{key}: {file} failed when it was loaded: {describe_error(error)}") from error
    return module
