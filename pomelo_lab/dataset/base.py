"""The base class of data sets."""

from __future__ import annotations

import functools
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch

from pomelo_lab.config.signature import Component, hints, is_local
from pomelo_lab.types import Batch

Split = Literal["train", "val", "test"]


class Dataset(Component, ABC):
    """Labelled images with random access. Subclasses are keyword-only dataclasses with a `split` field.

    Shapes: every image of a data set has the same [C,H,W], values in [0,1].
    Random: only from the constructor's seed; image i of a split has the same pixels in every batch.
    """

    split: Split
    # contents of batches in addition to images: label, masks (boxes follow from them), boxes, attributes, factors
    provides: ClassVar[frozenset[str]] = frozenset({"label"})
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...] = ()
    part_names: tuple[str, ...] = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """The shape of an image: (C, H, W)."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> Batch:
        """The images at `indices` of this split, in that order."""

    def unmasked(self, indices: Sequence[int]) -> Batch:
        """The same as `batch`, for readers that need no masks. Data sets with slow masks leave them out."""
        return self.batch(indices)

    def labels(self, indices: Sequence[int]) -> torch.Tensor:
        """The labels, int64 [B]. Data sets whose labels do not require the images override this."""
        return self.unmasked(indices).label

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        """The names of images. Data sets whose names do not require the images override this."""
        parts = [self.unmasked(indices[start : start + 512]).image_id for start in range(0, len(indices), 512)]
        return tuple(name for part in parts for name in part)

    def read_attributes(self, indices: Sequence[int]) -> torch.Tensor:
        """The attributes, bool [B,A]. Data sets whose attributes do not require the images override this."""
        parts = [self.unmasked(indices[start : start + 512]).attributes for start in range(0, len(indices), 512)]
        return torch.cat(parts)

    @abstractmethod
    def digest(self) -> str:
        """A short text that changes when pixels or labels change. It depends on the contents of files, never on their
        paths, sizes or times."""

    def image_digest(self) -> str:
        """A short text that changes when the images or their order change. It does not depend on `label_arguments`.
        Results that depend only on images are stored under it and reused for every label."""
        return self.digest()

    def attribute_digest(self) -> str:
        """A short text that changes when the images, their order or their attributes change. Networks that learn all
        attributes are stored under it."""
        return self.digest()

    @classmethod
    def classes(cls, given: dict) -> tuple[str, ...] | None:
        """Class names of a data set with these arguments, if they are known before any file is read."""
        return cls.class_names if isinstance(getattr(cls, "class_names", None), tuple) else None

    @classmethod
    def label_arguments(cls, given: dict) -> tuple[str, ...]:
        """Names of arguments that determine the labels, but neither the images nor their attributes. Training
        without labels does not depend on them."""
        return ("label",)

    @classmethod
    def training_arguments(cls, given: Mapping[str, Any], labelled: bool) -> dict[str, Any]:
        """Arguments that take another value when networks are trained on the data set.

        Args: labelled: whether the networks use labels.
        """
        return {}

    @classmethod
    def reads_files(cls) -> bool:
        """Whether the images come from files or from code outside this package, so that the arguments do not determine
        them."""
        return any(map(is_local, hints(cls).values())) or not cls.__module__.startswith("pomelo_lab.")

    @classmethod
    def contents_provenance(cls, given: Mapping[str, Any]) -> str | None:
        """`digest` of the data set with these arguments; None if the arguments determine the images."""
        return build_cached(cls, json.dumps(dict(given), sort_keys=True)).digest() if cls.reads_files() else None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def class_name(self, output: int) -> str:
        """The name of a classifier's output. An output that is no class of the data set is called "output 12"."""
        return self.class_names[output] if output < len(self.class_names) else f"output {output}"

    def at(self, split: Split) -> Dataset:
        """The same data set at another split."""
        return self if split == self.split else replace(self, split=split)

    def split_sizes(self) -> dict[str, int]:
        """Number of images of this split, and of each other split whose size is known without reading more files."""
        return {self.split: len(self)}

    def order(self) -> torch.Tensor:
        """A fixed shuffle of all indices. Its first n are the "n randomly selected images"; a larger n contains
        them."""
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(0))

    @classmethod
    def features(cls, given: dict) -> frozenset[str]:
        """The annotations that a data set with these arguments provides, known before any file is read."""
        return cls.provides


def hash_position(name: str) -> float:
    """A number in [0,1) that depends only on a name and is the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def split_by_hash(name: str, val_share: float, test_share: float) -> Split:
    """The split of an image by a hash of its name, so that added images do not move others."""
    position = hash_position(name)
    return "val" if position < val_share else "test" if position < val_share + test_share else "train"


@functools.lru_cache(maxsize=8)
def build_cached(kind: type[Dataset], given: str) -> Dataset:
    """The data set with the given arguments, as JSON. It is cached, because large file lists take seconds to read."""
    if not issubclass(kind, Dataset):
        raise ValueError(f"{kind.__name__} is no data set")
    return kind(**json.loads(given))
