"""What was found about the ways to compute a network: whether they agree, how fast they are, and which one is used."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.runtime.base import Answer

log = logging.getLogger(__name__)

TOLERANCE = 2e-5  # largest difference between two answers, as a share of the largest answer
REPEATS = 3  # alternating timings of a runtime and the network
GAIN = 1.05  # a runtime that is no faster than this is not worth another kind of rounding
CHECKED = 2  # further calls whose first rows are compared
ROWS = 8  # rows that are compared in these
_watching: list[dict[str, dict[str, Any]]] = []


@dataclass
class Chosen:
    """What was found for inputs of one shape.

    answer: computes the network; None = what is in use otherwise.
    left: calls that are still compared; gain, difference: measured in the choice.
    why: the reason for no answer; usual: the name of what is in use otherwise.
    """

    runtime: str = "eager"
    answer: Answer | None = None
    left: int = CHECKED
    gain: float = 1.0
    difference: float = 0.0
    why: str = ""
    usual: str = "eager"

    def agrees(self, answer: Tensor, ask: Callable[[], Tensor]) -> bool:
        """Whether the first rows of an answer are those of `ask`, which is called in the first calls after the choice
        only. Where they differ, nothing is chosen any more."""
        if not self.left or not len(answer):
            return True
        self.left -= 1
        gap = difference(answer[:ROWS], ask())
        if gap <= TOLERANCE:
            return True
        self.answer, self.why = None, f"{self.runtime}: its answers differ by {gap:.1g}"
        return False

    def describe(self) -> dict[str, Any]:
        """For status.json."""
        if self.answer is None:
            return {"runtime": self.usual, "why": self.why}
        return {"runtime": self.runtime, "gain": round(self.gain, 2), "largest difference": self.difference}


def compare_speed(usual: Callable[[], Any], other: Callable[[], Any], device: torch.device) -> float:
    """How many times as fast as the usual way another one is, from alternating runs."""
    seconds: Mapping[Callable[[], Any], list[float]] = {usual: [], other: []}
    for _ in range(REPEATS):
        for way, taken in seconds.items():
            start = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - start)
    return statistics.median(seconds[usual]) / statistics.median(seconds[other])


def first_line(error: Exception) -> str:
    """The kind and the first line of an error."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:120]}"


def first_rows(inputs: tuple[Tensor, ...], n: int) -> tuple[Tensor, ...]:
    """The first n rows of inputs."""
    return tuple(part[:n] if part.ndim else part for part in inputs)


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two answers, as a share of the largest answer. NaN when either has NaN."""
    scale = other.abs().amax().clamp_min(torch.finfo(torch.float32).tiny) if other.numel() else 1.0
    return float(((one.float() - other.float()).abs() / scale).amax()) if other.numel() else 0.0


def report(name: str, found: Chosen) -> None:
    """Says once what computes a network from now on."""
    log.info("%s: %s", name, ", ".join(f"{key} {value}" for key, value in found.describe().items()))
    note(name, found)


def note(name: str, found: Chosen) -> None:
    """Records what computes a network, for `watch_runtimes`."""
    for runtimes in _watching:
        runtimes[name] = found.describe()


@contextmanager
def watch_runtimes() -> Iterator[dict[str, dict[str, Any]]]:
    """A context that records what networks chose in it, by name."""
    runtimes: dict[str, dict[str, Any]] = {}
    _watching.append(runtimes)
    try:
        yield runtimes
    finally:
        _watching[:] = [known for known in _watching if known is not runtimes]
