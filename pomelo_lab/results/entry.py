"""One entry of a table: our number with its state, and the paper's number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pomelo_lab.results.claim import MIN_IMAGES, Sample
from pomelo_lab.results.evidence import cell_sample, mean_of, std
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.marks import is_best
from pomelo_lab.results.method import is_built
from pomelo_lab.results.report import Column, Row


@dataclass(frozen=True)
class Entry:
    """Our number and the paper's number for one row and column.

    state: "done"; "undefined" (no finite value); "not applicable" (the method has no such quantity); "not scored" (the
    job omits this metric); "missing", "running", "interrupted", "failed", "damaged"; "skipped" (the data set cannot
    build it); "not built" (the row's component does not exist in this version); "not asked" (the grid was narrowed and
    has no job of the row).
    repeats: number of finished jobs behind the number (seeds of a grid), or seeds of a set statistic.
    std: standard deviation over images.
    std_repeats: standard deviation over the means of the repeats, or over random draws if the statistic itself gives
    it.
    interval: interval of a set statistic over resampled images.
    """

    state: str
    mean: float | None = None
    std: float | None = None
    n: int = 0
    n_nan: int = 0
    repeats: int = 0
    std_repeats: float | None = None
    printed: tuple[float, float | None] | None = None
    best: bool = False
    interval: tuple[float, float] | None = None

    def spread(self, kind: str) -> float | None:
        """The number after ±: the standard deviation over images or the standard error of their mean. For repeats of
        a set statistic or of a job it is the spread over the repeats."""
        if kind == "seeds" and self.repeats > 1:
            return self.std_repeats
        if self.std is None:
            over_seeds = self.std_repeats is not None and self.repeats > 1
            return (
                self.std_repeats / math.sqrt(self.repeats)
                if over_seeds and kind == "standard_error"
                else self.std_repeats
            )
        return self.std / math.sqrt(self.n) if kind == "standard_error" else self.std


def make_entry(
    row: Row, column: Column, states: Sequence[str], done: Sequence[GridCell], values: Any, folders: Sequence[str] = ()
) -> Entry:
    """Builds one entry of the table.

    Args:
        states: states of all jobs of the row.
        done: the finished cells of the row.
        folders: the user's config folders.
    """
    printed = row.values.get(column.metric)
    if not done:
        worst = next(
            (s for s in ("failed", "damaged", "interrupted", "running", "missing", "skipped") if s in states), "missing"
        )
        return Entry(worst if states else "not asked" if is_built(row, folders) else "not built", printed=printed)
    scores = values(row.key, column.metric)
    if any((c.summary.get(column.metric, {}).get("details") or {}).get("applies") == 0 for c in done) and (
        scores is None or not scores.value
    ):
        return Entry("not applicable", printed=printed)
    if scores is None:
        summary = any(column.metric in c.summary for c in done)
        return Entry("undefined" if summary else "not scored", printed=printed)
    parts = [s for c in done if (s := cell_sample(c, column.metric)) is not None]
    summaries = [c.summary.get(column.metric, {}) for c in done]
    finite = [v for v in scores.value.values() if math.isfinite(v)]
    if scores.point is None and not finite:
        return Entry("undefined", n_nan=scores.n_nan, repeats=len(parts), printed=printed)
    return Entry(
        state="done",
        mean=scores.point if scores.point is not None else sum(finite) / len(finite),
        std=std(finite) if scores.point is None else None,
        n=len(finite) if scores.point is None else max((s.get("n") or 0 for s in summaries), default=0),
        n_nan=scores.n_nan or max((s.get("n_nan") or 0 for s in summaries), default=0),
        repeats=len(scores.repeats) or len(parts),
        std_repeats=std([mean_of(p) for p in parts])
        if scores.point is None
        else std(scores.repeats)
        if scores.repeats
        else summaries[0].get("std"),
        interval=interval(summaries) if scores.point is not None and not column.magnitude else None,
        printed=printed,
    )


def interval(summaries: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """The interval that a set statistic reports. None for several jobs, because their intervals cannot be combined."""
    details = summaries[0].get("details") or {}
    return (details["low"], details["high"]) if len(summaries) == 1 and {"low", "high"} <= set(details) else None


def mark_best(
    entries: dict[tuple[str, str], Entry],
    rows: Sequence[str],
    column: Column,
    better: str | None,
    values: Callable[[str, str], Sample | None],
) -> None:
    """Sets the best mean of a column in bold where the paired bootstrap finds it better than every other row.

    Equal means share the mark. Nothing is bold when there are few images.
    """
    finished = {r: entries[r, column.metric] for r in rows if entries[r, column.metric].state == "done"}
    if better is None or len(finished) < 2:
        return
    best = (max if better == "higher" else min)(e.mean for e in finished.values())
    first, others = [r for r in finished if finished[r].mean == best], [r for r in finished if finished[r].mean != best]
    few = any(0 < e.n < MIN_IMAGES for e in finished.values())
    if not few and is_best(first[0], others, column.metric, better, values):
        for r in first:
            entries[r, column.metric] = replace(finished[r], best=True)
