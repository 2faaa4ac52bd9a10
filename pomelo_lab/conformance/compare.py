"""Whether two results are the same, and whether inputs and the global random generator were left alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.conformance.trial import Broken, ensure

CLOSE = 1e-5  # of the largest value: kernels of another batch size sum in another order


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor below a value, with its path."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, f"{name}.{key}".strip("."))
    elif isinstance(value, (tuple, list)):
        for key, item in enumerate(value):
            yield from tensors_in(item, f"{name}[{key}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for f in fields(value):
            yield from tensors_in(getattr(value, f.name), f"{name}.{f.name}".strip("."))


@contextmanager
def untouched(**inputs: Any) -> Iterator[None]:
    """Breaks where a block changes a tensor that it was given, or draws from torch's global random generator."""
    given = {name: (tensor, tensor.clone()) for name, tensor in tensors_in(inputs)}
    state = torch.random.get_rng_state()
    yield
    why = "it uses torch's global random generator: draw from the random streams that it is given"
    ensure(torch.equal(state, torch.random.get_rng_state()), why)
    for name, (tensor, before) in given.items():
        ensure(torch.equal(torch.nan_to_num(tensor), torch.nan_to_num(before)), f"it changes {name} in place")


def split_batch(n: int) -> list[list[int]]:
    """The rows of two batches that share no image, in another order, so that whatever is taken over a whole batch, such
    as its maximum, is another in one of them."""
    return [[*range(2, n)][::-1] + [0], [1]] if n > 1 else [[0]]


def ensure_same(first: Any, second: Any, why: str, close: float = 0.0) -> None:
    """Breaks where two results differ.

    Args: why: what was different about how they were made. close: largest difference of floats, as a share of the
        largest value; 0 = the same bits.
    """
    other = dict(tensors_in(second))
    for name, tensor in tensors_in(first):
        if name not in other or tensor.shape != other[name].shape:
            raise Broken(f"{why}: {name or 'the result'} has another shape, or is missing")
        if torch.equal(tensor, other[name]):
            continue
        if not tensor.is_floating_point() or not torch.equal(tensor.isfinite(), other[name].isfinite()):
            raise Broken(f"{why}: {name or 'the result'} is another")
        scale = float(tensor.nan_to_num().abs().max()) or 1.0
        off = float((tensor - other[name]).nan_to_num().abs().max())
        ensure(off <= close * scale, f"{why}: {name or 'the result'} differs by {off:.2g}, the largest is {scale:.2g}")
