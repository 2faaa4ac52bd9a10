"""Gaussian noise images: the simplest reference for "out of distribution"."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative
from pomelo_lab.dataset.base import Dataset, Split
from pomelo_lab.dataset.image_file import checked_indices, to_unit
from pomelo_lab.types import Batch, to_8_bits


@dataclass(kw_only=True)
class Noise(Dataset):
    """Independent Gaussian values per pixel and channel, clipped to [0,1] and rounded to 8 bits; no labels.

    Source: the noise row of POMELO's Table 1 (its mean and sigma are unstated). Departures: none known.
    Args:
        mean: of the Gaussian before clipping, in image units.
        sigma: standard deviation of the Gaussian before clipping, in image units.
        n: number of images in each split.
    Random: a generator per (seed, split, index); the splits share no image.
    """

    provides: ClassVar[frozenset[str]] = frozenset()

    split: Split = "test"
    size_px: Count = 64
    channels: Literal[1, 3] = 3
    mean: Fraction = 0.5
    sigma: NonNegative = 0.25
    n: Count = 1000
    seed: Natural = 0

    class_names = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size_px, self.size_px

    def __len__(self) -> int:
        return self.n

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = checked_indices(indices, self.n)
        names = self.image_ids(rows)
        normal = RandomStreams(self.seed).normal(names, "dataset.noise", *self.shape)
        image = to_unit(to_8_bits(normal.mul_(self.sigma).add_(self.mean)))
        return Batch(
            image=image, label=torch.full((len(rows),), -1), image_id=names, index=torch.tensor(rows, dtype=torch.long)
        )

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(f"noise-{self.split}-{row:05d}" for row in checked_indices(indices, self.n))

    def digest(self) -> str:
        return hashlib.sha256(self.batch([0]).image.numpy().tobytes() + str(self.n).encode()).hexdigest()[:16]
