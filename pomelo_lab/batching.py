"""Micro-batches that halve themselves when memory runs out, and random streams that belong to images."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from pomelo_lab import philox
from pomelo_lab.philox import Key

log = logging.getLogger(__name__)

ROWS = 4  # rows per block of CPU matrix kernels; an incomplete block is summed in another order


class RandomStreams:
    """Random numbers that belong to (seed, image id, purpose), never to a batch, a device rank or the global RNG.

    A draw for an image does not depend on the other images, on its position in the batch, or on earlier draws.

    Args:
        seed: the job's seed.
        name: prefix of every purpose, for streams that share seed and images and must not share numbers.
    Shapes: every draw returns [B,*shape] for B image ids.
    Random: one stream per image and purpose; a purpose must be used once per image ("ddim.step.7"). `device`
        draws the numbers, the same ones as every other device (`pomelo_lab.philox`).
    Cost: about 0.1 ms per image for 12,288 normals on one core.
    """

    revision: ClassVar[int] = 2  # 1 drew other numbers, by torch's generator on the CPU

    def __init__(self, seed: int, name: str = "") -> None:
        self.seed, self.name = seed, name

    def named(self, name: str) -> RandomStreams:
        """Streams of the same seed whose purposes begin with a name: two methods then never share noise."""
        return RandomStreams(self.seed, f"{self.name}{name}.")

    def generator(self, image_id: str, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator of torch's for functions that want one, seeded from (seed, image id, purpose)."""
        value = int.from_bytes(self._digest(image_id, purpose)[:8], "little", signed=True)
        return torch.Generator(device).manual_seed(value)

    def key(self, image_id: str, purpose: str) -> Key:
        """The key of a counter-based stream: the first 128 bits of the digest of (seed, image id, purpose)."""
        digest = self._digest(image_id, purpose)
        return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")

    def _digest(self, image_id: str, purpose: str) -> bytes:
        return hashlib.sha256(f"{self.seed}\0{image_id}\0{self.name}{purpose}".encode()).digest()

    def uniform(
        self, image_ids: Sequence[str], purpose: str, *shape: int, device: torch.device | str = "cpu"
    ) -> Tensor:
        """U[0,1) float32 [B,*shape]."""
        return self._draw(philox.uniform, image_ids, purpose, shape, device)

    def normal(self, image_ids: Sequence[str], purpose: str, *shape: int, device: torch.device | str = "cpu") -> Tensor:
        """N(0,1) float32 [B,*shape]."""
        return self._draw(philox.normal, image_ids, purpose, shape, device)

    def permutation(self, image_ids: Sequence[str], purpose: str, repeats: int, n: int) -> Tensor:
        """`repeats` independent random orders of 0..n-1 per image: int64 [B,repeats,n]."""
        return self.uniform(image_ids, purpose, repeats, n).argsort(dim=-1, stable=True)

    def _draw(self, sample: Callable, image_ids: Sequence[str], purpose: str, shape: tuple[int, ...], device) -> Tensor:
        keys = [self.key(image_id, purpose) for image_id in image_ids]
        return sample(keys, math.prod(shape), device=device).reshape(len(keys), *shape)


class RowNoise:
    """Sequential random numbers for rows, which are (image, perturbation) pairs. Call j gives each row its j-th draw.

    A row's numbers do not depend on how the rows are batched, nor on the number of perturbations.

    Args:
        image_ids, indices: the image of each row, and the index of the row among that image's perturbations.
        device: draws the numbers, the same ones as any other device.
    Cost: as `RandomStreams`.
    """

    def __init__(
        self,
        streams: RandomStreams,
        image_ids: Sequence[str],
        indices: Sequence[int],
        device: torch.device | str = "cpu",
    ):
        self.keys = [streams.key(i, str(k)) for i, k in zip(image_ids, indices, strict=True)]
        self.device = device
        self.drawn = 0  # blocks of each row's stream

    def normal(self, *shape: int) -> Tensor:
        """N(0,1) float32 [rows,*shape]."""
        n = math.prod(shape)
        out = philox.normal(self.keys, n, self.drawn, self.device).reshape(len(self.keys), *shape)
        self.drawn += philox.count_blocks(n + n % 2)
        return out


class MicroBatches:
    """Runs a function over a long leading axis, `batch_size` rows at a time, and halves that when memory runs out.

    The rows of a result depend on their own inputs only, so the numbers do not change with the batch size beyond the
    kernels' rounding; networks that are asked `in_full_rows` round alike too.

    Args: batch_size: rows ("forwards") at once.
    Cost: one call of the function per micro-batch; nothing is copied but the results.
    """

    def __init__(self, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        self.batch_size = batch_size

    def rows(self, function: Callable[[int, int], Any], n: int, copies: int = 1, at_least: int = 1) -> Any:
        """Concatenate function(start, stop) over [0, n).

        Args:
            function: returns a tensor, or a tuple of tensors, with stop - start rows each.
            copies: forwards that the function makes at once for each of its rows.
            at_least: rows at once, also beyond `batch_size`, until memory runs out.
        Raises: torch.OutOfMemoryError when a single row does not fit.
        """
        parts: list[Any] = []
        start = 0
        while start < n:
            stop = min(start + max(at_least, self.batch_size // copies), n)
            try:
                parts.append(function(start, stop))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or stop - start <= 1:
                    raise
                self.batch_size, at_least = math.ceil((stop - start) / 2) * copies, 1
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                log.warning(
                    "out of memory at %d forwards: continuing with batch_size=%d",
                    (stop - start) * copies,
                    self.batch_size,
                )
                continue
            start = stop
        return (
            tuple(torch.cat(pieces) for pieces in zip(*parts, strict=True))
            if isinstance(parts[0], tuple)
            else torch.cat(parts)
        )

    def __call__(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Concatenate function(rows[start:stop])."""
        return self.rows(lambda start, stop: function(rows[start:stop]), len(rows))


def index_pairs(n_rows: int, n: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """All pairs of a row 0..n_rows-1 and an index 0..n-1, row by row: int64 [n_rows*n] twice."""
    row, index = torch.meshgrid(torch.arange(n_rows, device=device), torch.arange(n, device=device), indexing="ij")
    return row.flatten(), index.flatten()


def runs(number: Tensor) -> Iterator[tuple[int, slice]]:
    """Neighbours with the same number, each as the number and its rows: what they share is then copied for none."""
    values, lengths = number.unique_consecutive(return_counts=True)
    start = 0
    for value, length in zip(values.tolist(), lengths.tolist(), strict=True):
        yield value, slice(start, start + length)
        start += length


def in_full_rows(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """Outputs of function(*inputs), called with a multiple of ROWS rows.

    The last row is repeated; outputs of the copies are dropped. On the CPU a row's answer is then the same to the last
    bit in every batch and with every number of threads (measured with oneDNN and MKL for 1 to 64 rows and 1 to 8
    threads). A search of hundreds of steps needs that: it amplifies rounding differences of the first step.

    Args:
        function: answers a tensor or a collection of tensors, rows first.
        inputs: tensors with equally many rows.
    Cost: up to ROWS - 1 more rows.
    """
    n = len(inputs[0])
    missing = -n % ROWS if inputs[0].device.type == "cpu" else 0
    if not missing:
        return function(*inputs)
    return first_rows(function(*(with_copies(tensor, n, missing) for tensor in inputs)), n, n + missing)


def with_copies(value: Any, n: int, copies: int) -> Any:
    """The value with the last row of every tensor of n rows repeated `copies` times."""

    def repeated(tensor: Tensor) -> Tensor:
        if tensor.dim() == 0 or len(tensor) != n:
            return tensor
        return torch.cat([tensor, tensor[-1:].expand(copies, *tensor.shape[1:])])

    return tree_map_only(Tensor, repeated, value)


def first_rows(value: Any, n: int, total: int) -> Any:
    """The value with every tensor of `total` rows cut to its first n."""
    return tree_map_only(Tensor, lambda tensor: tensor[:n] if tensor.dim() and len(tensor) == total else tensor, value)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    text = str(error).lower()
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "out of memory" in text
        or "can't allocate memory" in text
        or "failed to allocate memory" in text  # onnxruntime
    )
