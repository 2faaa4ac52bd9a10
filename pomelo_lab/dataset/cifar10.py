"""CIFAR-10: small photographs of ten kinds of objects, POMELO's reference of images that are not faces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.config.hints import Count, LocalPath
from pomelo_lab.dataset.base import Dataset, Split
from pomelo_lab.dataset.image_file import checked_indices, first_existing, to_unit
from pomelo_lab.types import Batch

SIDE, RECORD = 32, 1 + 3 * 32 * 32  # bytes: the label, then red, green and blue, row by row
LAYOUT = """\
cifar-10-batches-bin/data_batch_1.bin
...
cifar-10-batches-bin/data_batch_5.bin
cifar-10-batches-bin/test_batch.bin"""
SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html (binary version)"
FILES = {
    "train": tuple(f"data_batch_{k}.bin" for k in range(1, 5)),
    "val": ("data_batch_5.bin",),
    "test": ("test_batch.bin",),
}


@dataclass(kw_only=True)
class Cifar10(Dataset):
    """60,000 images of 32x32 pixels in ten classes, read from the binary version.

    Source: Krizhevsky (2009). Departures: the fifth training file is the val split.
    Args:
        root: the folder that holds cifar-10-batches-bin/, or that folder; not part of fingerprints, `digest` is.
        size_px: side of the images; others than 32 are resized (bilinear, antialiased).
    Raises: FileNotFoundError (path, layout, source), or ValueError naming a file of another length.
    """

    root: LocalPath
    split: Split = "test"
    size_px: Count = SIDE

    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    @cached_property
    def records(self) -> Tensor:
        """uint8 [n,3073]."""
        parts = []
        for name in FILES[self.split]:
            paths = [Path(self.root) / folder / name for folder in ("cifar-10-batches-bin", "")]
            path = first_existing("the images of CIFAR-10", paths, LAYOUT, SOURCE)
            content = np.fromfile(path, dtype=np.uint8)
            if len(content) % RECORD or not len(content):
                raise ValueError(
                    f"{path} has {len(content)} bytes, expected a multiple of {RECORD}: it is no file of "
                    f"CIFAR-10's binary version"
                )
            parts.append(torch.from_numpy(content).view(-1, RECORD))
        return torch.cat(parts)

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size_px, self.size_px

    def __len__(self) -> int:
        return len(self.records)

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = torch.tensor(checked_indices(indices, len(self)), dtype=torch.long)
        image = self.records[rows, 1:].view(-1, 3, SIDE, SIDE)
        if self.size_px != SIDE and len(rows):
            sides = (self.size_px, self.size_px)
            image = (
                F.interpolate(image.float(), sides, mode="bilinear", antialias=True)
                .round_()
                .clamp_(0, 255)
                .to(torch.uint8)
            )
        names = self.image_ids(rows.tolist())
        return Batch(
            image=to_unit(image.reshape(-1, *self.shape)), label=self.labels(rows.tolist()), image_id=names, index=rows
        )

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(f"cifar10-{self.split}-{row:05d}" for row in checked_indices(indices, len(self)))

    def labels(self, indices: Sequence[int]) -> Tensor:
        return self.records[checked_indices(indices, len(self)), 0].long()

    def digest(self) -> str:
        return hashlib.sha256(self.records.numpy().tobytes()).hexdigest()[:16]
