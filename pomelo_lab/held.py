"""Objects of a Python session, under names that a config can hold: networks, functions and images.

`hold(network)` gives "pomelo_lab.held:network_1f0c...", which `classifier=module` and `classifier=callable` import
as any other path. Names follow from contents, so that the same object has the same name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.dataset.base import Dataset, Split
from pomelo_lab.types import Batch, ensure_images
from pomelo_lab.weights import state_digest

_images: dict[str, tuple[Tensor, Tensor]] = {}  # name -> images [n,C,H,W] and labels [n]


def hold(thing: nn.Module | Callable[..., Any]) -> str:
    """Keeps a network or a function, and returns the path under which it can be imported."""
    if isinstance(thing, nn.Module):
        name = f"network_{state_digest(thing)[:16]}_{hashlib.sha256(str(thing).encode()).hexdigest()[:8]}"
    else:
        name = f"function_{id(thing):x}"  # its object lives as long as this module, so that no other gets its number
    globals()[name] = thing
    return f"{__name__}:{name}"


def hold_images(images: Tensor, label: Tensor | None = None) -> str:
    """Keeps images [n,C,H,W] in [0,1] with their labels, and returns the name for `HeldImages`."""
    image = ensure_images(images.detach().float().cpu(), "images: ").clamp(0, 1)
    label = torch.full((len(image),), -1) if label is None else label.detach().long().cpu()
    digest = hashlib.sha256(image.numpy().tobytes() + label.numpy().tobytes() + repr(image.shape).encode()).hexdigest()
    _images[digest[:16]] = image, label
    return digest[:16]


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
    def held(self) -> tuple[Tensor, Tensor]:
        """Images and labels of the split."""
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
        index = torch.as_tensor(indices, dtype=torch.long)
        image, label = (part[index] for part in self.held)
        return Batch(image=image, label=label, image_id=tuple(f"{self.split}-{i:05d}" for i in indices), index=index)

    def digest(self) -> str:
        return f"{self.name} {self.training}"
