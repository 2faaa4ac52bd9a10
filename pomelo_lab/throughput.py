"""Micro-batches of the size that a network answers fastest, found on the first rows that it is asked for.

A larger batch is not a faster one: on a processor, activations that leave its cache cost more than calls. On an
accelerator, calls cost more.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from pomelo_lab.batching import MicroBatches

log = logging.getLogger(__name__)

BatchSize = int | Literal["auto"]
FASTEST = "auto"  # the batch size that stands for the fastest
REPEATS = 3  # timed micro-batches of a size; the first one also prepares the network for it
GAIN = 0.96  # a size is faster when a row takes at most this share of the time; smaller batches need less memory
SIZES = {"cpu": (8, 16, 32, 64, 128)}  # tried, by type of device
ACCELERATOR_SIZES = (64, 128, 256, 512, 1024, 2048)
FIXED = {"cpu": 64}  # without a trial
ACCELERATOR_FIXED = 1024
_watching: list[dict[str, int]] = []


def fixed_size(device: torch.device | str) -> int:
    """The batch size without a trial: on a CPU it is small, because the cache is, and on an accelerator large."""
    return FIXED.get(torch.device(device).type, ACCELERATOR_FIXED)


class FastestBatches(MicroBatches):
    """Micro-batches of the fastest size. The first call with enough rows is the trial, whose answers are kept.

    A trial compares rows of one call only, because another call may do other work with its rows. Before it, and where
    no call has enough rows, the size is `fixed_size`. Memory that runs out halves the size and ends a trial.

    Args:
        name: of the network, for `watch` and messages.
        device: of the network.
    """

    def __init__(self, name: str, device: torch.device | str = "cpu") -> None:
        self.name, self.device = name, torch.device(device)
        self.sizes = SIZES.get(self.device.type, ACCELERATOR_SIZES)
        self.restart()

    def restart(self) -> None:
        """Forgets what was found, for a network that is from now on computed in another way."""
        super().__init__(fixed_size(self.device))
        self.tried = False

    def rows(self, function: Callable[[int, int], Any], n: int, copies: int = 1, at_least: int = 1) -> Any:
        """As `MicroBatches.rows`. The first call with enough rows for all sizes is the trial, whatever `at_least`."""
        if self.tried or n * copies < REPEATS * sum(self.sizes):
            answers = super().rows(function, n, copies, 1 if self.tried else at_least)
        else:
            self.tried, trial = True, Trial(self, function, copies)
            answers = super().rows(trial, n, copies)
            trial.end()
        for sizes in _watching:
            sizes[self.name] = self.batch_size
        return answers


class Trial:
    """Calls a function with rows, and chooses the size of the next micro-batch after each call.

    Sizes are tried from the smallest up. REPEATS micro-batches of a size are timed, and their median counts. A size
    that is no faster is timed once more, because it may have been disturbed, and then ends the trial.

    Args:
        forwards: whose batch_size is chosen.
        copies: forwards that the function makes for each row.
    """

    def __init__(self, forwards: FastestBatches, function: Callable[[int, int], Any], copies: int) -> None:
        self.forwards, self.function, self.copies = forwards, function, copies
        self.size: int | None = forwards.sizes[0]  # under trial; None after the end
        self.seconds: dict[int, list[float]] = {}  # of a forward, by size
        forwards.batch_size = self.size

    def __call__(self, start: int, stop: int) -> Any:
        begin = time.perf_counter()
        answer = self.function(start, stop)
        if self.size is None:
            return answer
        if self.forwards.device.type == "cuda":
            torch.cuda.synchronize(self.forwards.device)
        if self.forwards.batch_size != self.size:  # memory ran out
            self.end()
        else:
            self.seconds.setdefault(self.size, []).append((time.perf_counter() - begin) / (stop - start) / self.copies)
            self.choose()
        return answer

    def choose(self) -> None:
        """Chooses the size to try next, or ends the trial."""
        taken, later = self.seconds[self.size], self.forwards.sizes[len(self.seconds) :]
        if len(taken) % REPEATS:
            return
        if self.fastest() == self.size and later:
            self.size = self.forwards.batch_size = later[0]
        elif self.fastest() == self.size or len(taken) > REPEATS:
            self.end()

    def end(self) -> None:
        """Chooses the fastest size. When memory ran out, no size above the one that remained."""
        if self.size is None:
            return
        self.size, fastest = None, self.fastest()
        self.forwards.batch_size = min(self.forwards.batch_size, fastest) if fastest else self.forwards.batch_size
        text = ", ".join(f"{size}: {1000 * self.median(size):.3g} ms" for size in self.seconds)
        log.info("%s: batch_size=%d (a row takes %s)", self.forwards.name, self.forwards.batch_size, text)

    def fastest(self) -> int | None:
        """The fastest of the sizes that were timed. None when none was."""
        best = next(iter(self.seconds), None)
        for size in self.seconds:
            best = size if self.median(size) <= GAIN * self.median(best) else best
        return best

    def median(self, size: int) -> float:
        """The median of the last REPEATS times of a size."""
        return statistics.median(self.seconds[size][-REPEATS:])


def micro_batches(
    batch_size: BatchSize, network: Any, device: torch.device | str = "cpu", work: str = ""
) -> MicroBatches:
    """Micro-batches of a given size, or of the fastest for a network, which is found once.

    Args:
        network: a classifier or generator; the micro-batches of the fastest size stay with it.
        work: "gradients" for forward and backward passes, whose fastest size is another; "" for forward passes.
    """
    if batch_size != FASTEST:
        return MicroBatches(batch_size)
    name = " ".join(filter(None, (type(network).__name__, work)))
    return vars(network).setdefault(f"_fastest_batches{work}", FastestBatches(name, device))


def without_trial(forwards: MicroBatches) -> MicroBatches:
    """Micro-batches for work whose row is a whole image. There are too few rows for a trial, so the size is fixed."""
    return MicroBatches(fixed_size(forwards.device)) if isinstance(forwards, FastestBatches) else forwards


@contextmanager
def watch() -> Iterator[dict[str, int]]:
    """A context that records the batch sizes at which networks with `batch_size=auto` answer in it, by name."""
    sizes: dict[str, int] = {}
    _watching.append(sizes)
    try:
        yield sizes
    finally:
        _watching[:] = [known for known in _watching if known is not sizes]
