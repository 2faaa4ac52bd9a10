"""What every data set promises, as checks that the tests of each share."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from pomelo_lab.dataset.base import Dataset
from pomelo_lab.types import Batch


def same(a: Batch, b: Batch) -> bool:
    """Equal in everything but the dictionary order."""
    return (
        torch.equal(a.image, b.image)
        and torch.equal(a.label, b.label)
        and a.image_id == b.image_id
        and torch.equal(a.index, b.index)
        and set(a.masks) == set(b.masks)
        and all(torch.equal(a.masks[name], b.masks[name]) for name in a.masks)
        and (a.attributes is None) == (b.attributes is None)
        and (a.attributes is None or torch.equal(a.attributes, b.attributes))
    )


def check_contract(dataset: Dataset, again: Dataset) -> None:
    """Types, shapes, the 8-bit grid, order, independence of neighbours, what is provided, a second object, an empty
    batch."""
    n = min(len(dataset), 8)
    order = list(range(n))[::-1]
    batch = dataset.batch(order)
    assert batch.image.shape == (n, *dataset.shape) and batch.image.dtype == torch.float32
    assert batch.label.shape == (n,) and batch.label.dtype == torch.int64 and batch.index.dtype == torch.int64
    assert batch.index.tolist() == order
    assert torch.equal(batch.image, batch.image.mul(255).round().div(255)), "images must lie on the 8-bit grid"
    assert 0 <= batch.image.min() and batch.image.max() <= 1
    for row, i in enumerate(order):
        assert same(dataset.batch([i]), batch.select([row])), "an image must not depend on its neighbours"
    every = dataset.batch(range(len(dataset)))
    assert len(set(every.image_id)) == len(dataset)
    assert same(again.batch(order), batch) and again.digest() == dataset.digest()
    assert ("masks" in dataset.provides) == bool(batch.masks)
    assert ("attributes" in dataset.provides) == (batch.attributes is not None)
    assert ("label" in dataset.provides) == bool((every.label >= 0).all())
    assert set(dataset.part_names) <= set(batch.masks)
    for mask in batch.masks.values():
        assert mask.shape == (n, *dataset.shape[1:]) and mask.dtype == torch.bool
    if batch.attributes is not None:
        assert batch.attributes.shape == (n, len(dataset.attribute_names)) and batch.attributes.dtype == torch.bool
    assert every.label.max() < max(dataset.num_classes, 1)
    assert len(dataset.batch([]).image) == 0
    assert dataset.at(dataset.split) is dataset
    check_contents(again)


_opened: list[str] | None = None


def _listen(event: str, given: tuple) -> None:
    if event == "open" and _opened is not None and isinstance(given[0], str):
        _opened.append(given[0])


sys.addaudithook(_listen)


def check_contents(dataset: Dataset) -> None:
    """A byte of any file that images and masks are read from is in the digest, at the same size."""
    global _opened
    _opened = []
    try:
        dataset.batch(range(min(len(dataset), 4)))
    finally:
        files, _opened = sorted({Path(path).resolve() for path in _opened}), None
    roots = [
        Path(value).resolve()
        for name, value in vars(dataset).items()
        if "root" in name and value and Path(str(value)).is_dir()
    ]
    read = [path for path in files if any(path.is_relative_to(root) for root in roots)]
    assert bool(read) == bool(roots) or not hasattr(dataset, "_contents")
    before = dataset.digest()
    for path in read:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert dataclasses.replace(dataset).digest() != before, path
        path.write_bytes(data)
    assert dataclasses.replace(dataset).digest() == before
