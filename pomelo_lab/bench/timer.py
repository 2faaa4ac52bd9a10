"""Timing of functions in paired repeats, with the time inside the classifier and outside it."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pomelo_lab.classifier.base import Classifier


@dataclass(frozen=True)
class Seconds:
    """A duration: wall time, and processor time summed over the threads of this process.

    Other programs on the machine affect the processor time less than the wall time.
    """

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


def now() -> Seconds:
    """The present wall time and processor time."""
    return Seconds(time.perf_counter(), time.process_time())


@dataclass(frozen=True)
class Run:
    """One timed call: its total time, its time inside the classifier, and its result."""

    total: Seconds
    inside: Seconds
    result: Any = None

    @property
    def outside(self) -> Seconds:
        return self.total - self.inside


class Inside:
    """Wraps functions and sums the time that is spent in them."""

    def __init__(self) -> None:
        self.spent = Seconds()

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = now()
            try:
                return function(*args, **kwargs)
            finally:
                self.spent += now() - start

        return timed

    def run(self, work: Callable[[], Any]) -> Run:
        """Calls `work` once and times it."""
        before, start = self.spent, now()
        result = work()
        return Run(now() - start, self.spent - before, result)

    def paired(self, works: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[Run]]:
        """Runs several works in turn: A B C A B C ...

        A temporary slowdown of the machine then affects all of them and cancels in ratios.
        """
        runs: dict[str, list[Run]] = {name: [] for name in works}
        for _ in range(repeats):
            for name, work in works.items():
                runs[name].append(self.run(work))
        return runs

    def fastest(self, work: Callable[[int], Any], batch_sizes: Iterable[int]) -> int:
        """The batch size at which `work` is fastest. These calls are also the warm-up."""
        return min(batch_sizes, key=lambda size: self.run(functools.partial(work, size)).total.wall)


class Timed(Classifier):
    """A classifier whose `probability` is timed."""

    def __init__(self, classifier: Classifier, inside: Inside) -> None:
        self.num_classes = classifier.num_classes
        self._classifier = classifier
        self._probability = inside(classifier.probability)

    def probability(self, images: Tensor) -> Tensor:
        return self._probability(images)

    def digest(self) -> str:
        return self._classifier.digest()
