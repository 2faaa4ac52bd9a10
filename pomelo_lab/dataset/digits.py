"""Real handwritten digits from an installed dependency: a data set that needs no download."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.config.hints import Range
from pomelo_lab.dataset.base import Dataset, Split, hash_position
from pomelo_lab.dataset.image_file import checked_indices, to_unit
from pomelo_lab.types import Batch

FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}


@dataclass(kw_only=True)
class Digits(Dataset):
    """scikit-learn's 1797 handwritten digits (8x8 pixels, 10 classes), split 70/15/15 within each class.

    Source: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI (1998), the test part, as
        `sklearn.datasets.load_digits` has it. Departures: our own split (UCI's writer split is not in the package).
    Args:
        size_px: side of the image.
        channels: 1, or 3 with the gray value repeated.
        resize: nearest keeps the 17 gray levels, bilinear is smooth.
    """

    split: Split = "test"
    size_px: Annotated[int, Range(low=8)] = 32
    channels: Literal[1, 3] = 3
    resize: Literal["nearest", "bilinear"] = "bilinear"

    class_names = tuple(str(digit) for digit in range(10))

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size_px, self.size_px

    def __len__(self) -> int:
        return len(positions_by_split()[self.split])

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = checked_indices(indices, len(self))
        positions = positions_by_split()[self.split][rows]
        gray = resize_all(self.size_px, self.resize)[positions]
        return Batch(
            image=to_unit(gray).expand(-1, self.channels, -1, -1).contiguous(),
            label=load_originals()[1][positions],
            image_id=self.image_ids(rows),
            index=torch.tensor(rows, dtype=torch.long),
        )

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        positions = positions_by_split()[self.split][checked_indices(indices, len(self))]
        return tuple(f"digits-{position:04d}" for position in positions.tolist())

    def digest(self) -> str:
        positions = positions_by_split()[self.split]
        pixels = resize_all(self.size_px, self.resize)[positions].numpy().tobytes()
        labels = load_originals()[1][positions].numpy().tobytes()
        return hashlib.sha256(pixels + labels + bytes([self.channels])).hexdigest()[:16]


@functools.cache
def load_originals() -> tuple[Tensor, Tensor]:
    """uint8 [1797,1,8,8] (0..16 spread over 0..255) and int64 [1797], in scikit-learn's order."""
    from sklearn.datasets import load_digits

    data = load_digits()
    image = torch.from_numpy(data.images).mul(255 / 16).round().to(torch.uint8)
    return image[:, None], torch.from_numpy(data.target).to(torch.int64)


@functools.cache
def positions_by_split() -> dict[str, Tensor]:
    """The positions of each split in scikit-learn's order, ascending.

    A hash determines the split instead of a random generator, so that library versions do not change it.
    """
    label = load_originals()[1].tolist()
    of_class: dict[int, list[int]] = {}
    for position in sorted(range(len(label)), key=lambda position: hash_position(f"digits-{position:04d}")):
        of_class.setdefault(label[position], []).append(position)
    split_positions: dict[str, list[int]] = {name: [] for name in FRACTIONS}
    for positions in of_class.values():
        first, second = (
            round(FRACTIONS["train"] * len(positions)),
            round((FRACTIONS["train"] + FRACTIONS["val"]) * len(positions)),
        )
        split_positions["train"] += positions[:first]
        split_positions["val"] += positions[first:second]
        split_positions["test"] += positions[second:]
    return {name: torch.tensor(sorted(positions)) for name, positions in split_positions.items()}


@functools.lru_cache(maxsize=4)
def resize_all(size_px: int, resize: str) -> Tensor:
    """uint8 [1797,1,size_px,size_px], all digits at one size (2 MB at 32 px)."""
    options = {"align_corners": False} if resize == "bilinear" else {}
    image = F.interpolate(load_originals()[0].to(torch.float64), size=(size_px, size_px), mode=resize, **options)
    return image.round_().clamp_(0, 255).to(torch.uint8)
