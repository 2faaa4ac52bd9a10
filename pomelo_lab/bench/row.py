"""Rows of the table of benchmarks: one number per repeat, with a target for the median."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pomelo_lab.bench.timer import Run, Seconds

Unit = Literal["x", "%", "images/s", "difference"]


@dataclass(frozen=True)
class Row:
    """A measured quantity with its target.

    values:   one per repeat; shares and overheads are fractions
    cpu:      the same values computed from processor time; empty for quantities that are not times
    at_least, at_most: the target of the median; None = no target
    note:     times in seconds and settings, as text
    """

    what: str
    values: tuple[float, ...]
    unit: Unit
    cpu: tuple[float, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def meets_target(self) -> bool | None:
        """Whether the median meets the target. None when there is no target."""
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or self.median >= self.at_least) and (
            self.at_most is None or self.median <= self.at_most
        )

    def cells(self) -> tuple[str, ...]:
        """The texts of the row: what, median, range, median of processor time, target, whether it is met, note."""
        low, high = format_value(min(self.values), self.unit), format_value(max(self.values), self.unit)
        limits = [("≥", self.at_least), ("≤", self.at_most)]
        return (
            self.what,
            format_value(self.median, self.unit),
            f"{low} - {high}" if len(self.values) > 1 else "",
            format_value(statistics.median(self.cpu), self.unit) if self.cpu else "",
            " ".join(f"{sign} {format_value(limit, self.unit)}" for sign, limit in limits if limit is not None),
            {True: "yes", False: "NO", None: ""}[self.meets_target],
            self.note,
        )

    def record(self) -> dict[str, Any]:
        """The row as plain values for JSON."""
        return {**vars(self), "median": self.median, "met": self.meets_target}


def format_value(value: float, unit: Unit) -> str:
    """A value with its unit as text, with about three digits."""
    if unit == "%":
        return f"{100 * value:.3g} %"
    if unit == "difference":
        return f"{value:.1e}"
    text = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text}x" if unit == "x" else f"{text}/s"


def ratio(
    what: str,
    over: tuple[Iterable[Run], Callable[[Run], Seconds]],
    under: tuple[Iterable[Run], Callable[[Run], Seconds]],
    unit: Unit = "x",
    **options: Any,
) -> Row:
    """The ratio of the times of two kinds of runs, for each repeat.

    Args: over, under: the runs of the numerator and the denominator, each with the part of a run that counts.
    """
    pairs = [(over[1](a), under[1](b)) for a, b in zip(over[0], under[0], strict=True)]
    wall = tuple(a.wall / max(b.wall, 1e-9) for a, b in pairs)
    return Row(what, wall, unit, cpu=tuple(a.cpu / max(b.cpu, 1e-9) for a, b in pairs), **options)


def total(run: Run) -> Seconds:
    return run.total


def inside(run: Run) -> Seconds:
    return run.inside


def outside(run: Run) -> Seconds:
    return run.outside


def typical(runs: Iterable[Run], part: Callable[[Run], Seconds]) -> str:
    """The median wall time of a part of the runs, as text."""
    seconds = statistics.median(part(run).wall for run in runs)
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
