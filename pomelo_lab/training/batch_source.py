"""The images of each training step, which depend only on the seed and the step."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.types import Batch, ensure_images, to_8_bits

log = logging.getLogger(__name__)


class BatchSource:
    """Batches of a data set for training or validation, in 8 bits per value.

    The images of a step depend only on the seed and the step. A resumed training therefore gets the same images as one
    that was never interrupted. The batches contain no masks and no factors.

    Args:
        n: number of images, taken from the start of the data set's fixed random order; None = all.
        shuffle: True = a new order in each epoch, without an incomplete last batch; False = the fixed order with all
            images.
        cache_gb: the images are kept in memory if they need at most this many gigabytes.
        n_workers: processes that read images; 0 = the current process reads them.
    Shapes: batch(step).image is uint8 [B,C,H,W].
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int = 0,
        n: int | None = None,
        shuffle: bool = True,
        cache_gb: float = 4.0,
        n_workers: int = 0,
    ) -> None:
        self.dataset, self.seed, self.shuffle, self.n_workers = dataset, seed, shuffle, n_workers
        self.places = dataset.order()[:n] if n is not None else torch.arange(len(dataset))
        self.n = len(self.places)
        if self.n == 0:
            raise ValueError(f"dataset {type(dataset).__name__} has no images in its {dataset.split} split")
        self.batch_size = min(batch_size, self.n)
        self.steps_per_epoch = self.n // self.batch_size if shuffle else math.ceil(self.n / self.batch_size)
        self.gigabytes = self.n * math.prod(dataset.shape) / 1e9
        self._ahead: tuple[int, Iterator[Batch]] | None = None
        self._held = self._read_all() if self.gigabytes <= cache_gb else None

    def indices(self, step: int) -> Tensor:
        """The positions of a step's images in the fixed order."""
        epoch, part = divmod(step, self.steps_per_epoch)
        order = self._order(epoch) if self.shuffle else torch.arange(self.n)
        return order[part * self.batch_size : (part + 1) * self.batch_size]

    def batch(self, step: int) -> Batch:
        """The images of a step. Any step can be requested; consecutive steps are fastest."""
        if self._held is not None:
            return self._held.select(self.indices(step).tolist())
        if self._ahead is None or self._ahead[0] != step:
            wanted = (self.places[self.indices(s)].tolist() for s in itertools.count(step))
            self._ahead = (step, iter(self._reader(wanted)))
        batch = next(self._ahead[1])
        self._ahead = (step + 1, self._ahead[1])
        return batch

    def _order(self, epoch: int) -> Tensor:
        return torch.randperm(self.n, generator=RandomStreams(self.seed).generator("", f"training order {epoch}"))

    def _reader(self, wanted) -> Iterator[Batch]:
        if self.n_workers == 0:
            return (Rows(self.dataset)[rows] for rows in wanted)
        from torch.utils.data import DataLoader

        return DataLoader(
            Rows(self.dataset), sampler=wanted, batch_size=None, collate_fn=unchanged, num_workers=self.n_workers
        )

    def _read_all(self) -> Batch:
        start, size, parts, said = time.monotonic(), 256, [], time.monotonic()
        wanted = [self.places[first : first + size].tolist() for first in range(0, self.n, size)]
        for part in self._reader(wanted):
            parts.append(part)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                log.info("reading %s images: %d of %d", self.dataset.split, min(self.n, len(parts) * size), self.n)
        took = time.monotonic() - start
        if took > 5:
            log.info(
                "read %d %s images in %.0f s (%.2f GB in memory)", self.n, self.dataset.split, took, self.gigabytes
            )
        attributes = torch.cat([p.attributes for p in parts]) if parts[0].attributes is not None else None
        return Batch(
            image=torch.cat([p.image for p in parts]),
            label=torch.cat([p.label for p in parts]),
            image_id=tuple(i for p in parts for i in p.image_id),
            index=torch.cat([p.index for p in parts]),
            attributes=attributes,
        )


class Rows:
    """A data set in the form that torch's DataLoader requires: lists of indices in, 8-bit batches out."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, indices: list[int]) -> Batch:
        batch = self.dataset.unmasked(indices)
        image = to_8_bits(ensure_images(batch.image, f"dataset {type(self.dataset).__name__}: "))
        return replace(batch, image=image, masks={}, factors=None)


def unchanged(batch: Batch) -> Batch:
    """Returns the batch itself. It replaces DataLoader's collation, as the data set already makes batches."""
    return batch
