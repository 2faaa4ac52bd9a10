"""Objects of a Python session, under names that a config can hold: networks, functions and images.

`hold(network)` gives "pomelo_lab.held:network_1f0c...", which `classifier=module` and `classifier=callable` import
as any other path. Names follow from contents, so that the same object has the same name.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pomelo_lab.dataset.base import Dataset, Split
from pomelo_lab.dataset.image_file import to_unit
from pomelo_lab.types import Batch, ensure_images
from pomelo_lab.weights import state_digest

_images: dict[str, tuple[Tensor, Tensor, tuple[str, ...]]] = {}  # name -> images [n,C,H,W], labels [n], ids


def hold(thing: nn.Module | Callable[..., Any]) -> str:
    """Keeps a network or a function, and returns the path under which it can be imported."""
    if isinstance(thing, nn.Module):
        name = f"network_{state_digest(thing)[:16]}_{hashlib.sha256(str(thing).encode()).hexdigest()[:8]}"
    else:
        name = f"function_{id(thing):x}"  # its object lives as long as this module, so that no other gets its number
    globals()[name] = thing
    return f"{__name__}:{name}"


def as_images(images: Any, what: str = "images") -> Tensor:
    """A copy of images as float [n,C,H,W]: a tensor, or PIL images of one size with 8 bits and no transparency.

    Args: what: the argument, for the message.
    Raises: ValueError for anything else.
    """
    if isinstance(images, Tensor):
        if images.ndim != 4 or not len(images) or images.shape[1] not in (1, 3):
            raise ValueError(f"{what} must be [B,C,H,W] with 1 or 3 channels, got {list(images.shape)}")
        return images.detach().to(dtype=torch.float32, device="cpu", copy=True)
    pictures = list(images) if isinstance(images, (list, tuple)) else [images]
    for i, picture in enumerate(pictures):
        if (mode := getattr(picture, "mode", type(picture).__name__)) not in ("RGB", "L", "P", "1"):
            raise ValueError(
                f"{what} must be a tensor [B,C,H,W] in [0,1] or PIL images of 8 bits without transparency, got {mode} "
                f"at {i}"
            )
    if not pictures or len({picture.size for picture in pictures}) != 1:
        raise ValueError(f"{what} must have one size, got {sorted({picture.size for picture in pictures})}")
    gray = all(picture.mode in ("L", "1") for picture in pictures)
    arrays = [
        np.array(picture.convert("L" if gray else "RGB")).reshape(*picture.size[::-1], -1) for picture in pictures
    ]
    return to_unit(torch.from_numpy(np.stack(arrays)).movedim(-1, 1).contiguous())


def count_classes(model: Any, images: Tensor) -> int | None:
    """How many classes a model answers for the first image. None for a module that cannot take it as it is.

    Raises: ValueError for a model that is neither a module nor a function, and for a function that fails.
    """
    if isinstance(model, type) or not callable(model):
        raise ValueError(f"model must be a torch module or a function of images, got {model!r}")
    training = getattr(model, "training", False)
    try:
        with torch.no_grad():
            answer = (model.eval() if isinstance(model, nn.Module) else model)(images[:1].clone())
        return torch.as_tensor(getattr(answer, "logits", answer)).shape[-1]
    except Exception as error:
        if isinstance(model, nn.Module):  # an image of another size, or scaled: its classifier will say
            return None
        raise ValueError(f"model raised {type(error).__name__}: {error}") from error
    finally:
        if isinstance(model, nn.Module):
            model.train(training)


def as_target(target: Any, n_images: int, n_classes: int | None) -> Tensor | None:
    """The class of each image, int64 [n]. None for a target of None, an int or a name, which a config holds.

    Raises: ValueError for another number of classes than images, and for classes that there are not.
    """
    if target is None or isinstance(target, str):
        return None
    classes = torch.as_tensor(target)
    if classes.is_floating_point() or (classes.ndim and len(classes) != n_images):
        raise ValueError(f"target must be a class or one for each of the {n_images} images, got {target!r}")
    wrong = classes[(classes < 0) | (classes >= (n_classes or 2**31))]
    if wrong.numel():
        raise ValueError(f"target must be from 0 to {(n_classes or 2**31) - 1}, got {int(wrong.flatten()[0])}")
    return classes.long() if classes.ndim else None


def hold_images(images: Tensor, label: Tensor | None = None) -> str:
    """Keeps images [n,C,H,W] in [0,1] with their labels, and returns the name for `HeldImages`."""
    image = ensure_images(images.detach().float().cpu(), "images: ").clamp(0, 1)
    label = torch.full((len(image),), -1) if label is None else label.detach().long().cpu()
    ids, seen = [], Counter()
    for picture in image:  # random streams belong to an image, wherever it stands
        name = hashlib.sha256(picture.numpy().tobytes()).hexdigest()[:12]
        seen[name] += 1
        ids.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    digest = hashlib.sha256(repr((ids, label.tolist(), image.shape)).encode()).hexdigest()[:16]
    _images[digest] = image, label, tuple(ids)
    return digest


@dataclass(kw_only=True)
class HeldImages(Dataset):
    """Images of a Python session.

    Args:
        name: of the images to explain, as `hold_images` gives it; also their digest.
        training: name of the images from which methods learn; None = there are none.
        names: of the classes.
    """

    name: str
    training: str | None = None
    names: list[str] = field(default_factory=list)
    split: Split = "test"

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.names)

    @classmethod
    def classes(cls, given: dict) -> tuple[str, ...] | None:
        return tuple(given["names"])

    @property
    def held(self) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Images, labels and ids of the split."""
        if self.split == "test":
            return _images[self.name]
        if self.training is None:
            raise ValueError("this method learns from training images: pass reference=, a tensor [n,C,H,W] in [0,1]")
        return _images[self.training]

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(_images[self.name][0].shape[1:])

    def __len__(self) -> int:
        return len(self.held[0])

    def order(self) -> Tensor:
        """The images as they were given."""
        return torch.arange(len(self))

    def batch(self, indices: Sequence[int]) -> Batch:
        (image, label, ids), index = self.held, torch.as_tensor(indices, dtype=torch.long)
        return Batch(image=image[index], label=label[index], image_id=tuple(ids[i] for i in indices), index=index)

    def digest(self) -> str:
        return f"{self.name} {self.training}"
