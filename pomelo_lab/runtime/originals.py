"""Images that differ from known images in a small square, which is found by a comparison of pixels."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import runs
from pomelo_lab.runtime.spans import Places

SMALLEST_PX = 8


@dataclass(frozen=True)
class Originals:
    """The images that M other images were made from, by a change that may be small. Any change is allowed.

    image:   [B,C,H,W].
    row:     int64 [M], the original of each image.
    prepare: from images to the inputs of the network that is asked about them.
    kept:    what a runtime has computed for originals, by its key; micro-batches share it.
    """

    image: Tensor
    row: Tensor
    prepare: Callable[[Tensor], Tensor] = lambda image: image
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def select(self, row: Tensor) -> Originals:
        """The same originals for other images."""
        return replace(self, row=row.to(self.image.device))

    def forget(self) -> Originals:
        """The same, with nothing computed."""
        return replace(self, kept={})


@dataclass(frozen=True)
class Change:
    """Inputs of a network, what they were made from, and the smallest common square around each difference.

    clean:  the network's inputs for the originals that occur, [B,C,H,W], in ascending order.
    number: the indices of these originals.
    """

    clean: Tensor
    number: tuple[int, ...]
    places: Places
    side: int

    @classmethod
    def find(cls, inputs: Tensor, originals: Originals) -> Change | None:
        """The change of inputs [M,C,H,W], whose side is rounded up by `round_up`.

        None when nothing can be compared, because the originals have another shape.
        """
        number, row = originals.row.unique(return_inverse=True)
        clean, row = originals.prepare(originals.image[number].to(inputs.device)), row.to(inputs.device)
        if len(inputs) != len(row) or clean.shape[1:] != inputs.shape[1:] or clean.dtype != inputs.dtype:
            return None
        differs = torch.cat([(inputs[rows] != clean[original]).any(1) for original, rows in runs(row)])
        ends = [first_and_last(differs.any(axis)) for axis in (2, 1)]  # rows, then columns
        longest = int(torch.stack([last - first for first, last in ends]).amax()) + 1
        side = round_up(longest, min(inputs.shape[2:]))
        top, left = (
            first.clamp(max=max(0, size - side)) for (first, _), size in zip(ends, inputs.shape[2:], strict=True)
        )
        return cls(clean, tuple(number.tolist()), Places(row, top, left), max(side, longest))


def first_and_last(marks: Tensor) -> tuple[Tensor, Tensor]:
    """The first and last marked position of each row; 0 and 0 where there is none: bool [M,n] -> int64 [M] twice."""
    numbers = marks.byte()  # argmax does not take bool
    first, last = numbers.argmax(1), marks.shape[1] - 1 - numbers.flip(1).argmax(1)
    return first, torch.where(marks.any(1), last, first)


def round_up(side: int, largest: int) -> int:
    """The next of 8, 12, 16, 24, 32, 48, ..., because what is prepared for a side also serves smaller ones."""
    size = SMALLEST_PX
    while size < side:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return min(size, largest)
