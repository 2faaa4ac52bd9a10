"""Times of work, split into inside and outside the classifier, in paired repeats."""

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
    """A span of time: on the clock, and summed over this process's threads (what other programs do to the machine shows
    less there)."""

    wall: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


def now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


@dataclass(frozen=True)
class Run:
    """One timed call: all of it, the part inside the classifier, and what it returned."""

    total: Seconds
    inside: Seconds
    result: Any = None

    @property
    def outside(self) -> Seconds:
        return self.total - self.inside


class Inside:
    """Adds up the time spent in the functions that it wraps."""

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
        """Call `work` once."""
        before, start = self.spent, now()
        result = work()
        return Run(now() - start, self.spent - before, result)

    def paired(self, works: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[Run]]:
        """Run the works in turn, A B C A B C ...: what slows the machine for a while then hits all, and cancels in
        ratios."""
        runs: dict[str, list[Run]] = {name: [] for name in works}
        for _ in range(repeats):
            for name, work in works.items():
                runs[name].append(self.run(work))
        return runs

    def fastest(self, work: Callable[[int], Any], batch_sizes: Iterable[int]) -> int:
        """The batch size at which `work` takes least time; the warm-up as well."""
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
