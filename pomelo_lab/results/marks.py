"""Footnote marks at the rows of a table: the row's mean crosses a limit, or the row does not beat its control."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pomelo_lab.results.claim import HOLDS, LEVEL, Sample, centre, judge_pair
from pomelo_lab.results.grammar import Pair, Term, Value
from pomelo_lab.results.report import Control, Report, Row

# groups of rows that compete for the bold mark and have to beat the control
METHODS = ("proposed", "baseline", "extra", "yours")
SYMBOLS = ("†", "‡", "§", "¶", "‖", "††", "‡‡", "§§")
LATEX = {"†": r"\dagger", "‡": r"\ddagger", "§": r"\S", "¶": r"\P", "‖": r"\|"}


@dataclass(frozen=True)
class Mark:
    """One footnote.

    name: the column's metric, or "control".
    rows: key of a row -> its label and the number that led to the mark.
    """

    symbol: str
    name: str
    text: str
    rows: Mapping[str, str] = field(default_factory=dict)


def marks(
    table: Report,
    rows: Sequence[Row],
    values: Callable[[str, str], Sample | None],
    directions: Mapping[str, str | None],
) -> tuple[Mark, ...]:
    """All marks of a table, in the order of the columns. Each kind of mark has a fixed symbol."""
    kinds = []
    for column in table.columns:
        if column.mark:
            means = [(r, mean(values(r.key, column.metric))) for r in rows]
            named = {r.key: f"{r.label} ({m:.2g})" for r, m in means if m is not None and column.is_beyond(m)}
            kinds.append((column.metric, f"{column.mark_note or column.symbol} ({column.symbol} {column.mark})", named))
    for control in dict.fromkeys(c for r in rows if (c := control_of(table, r)) is not None):
        judged = [r for r in rows if control_of(table, r) == control and not beats(r, control, values, directions)]
        if judged:
            label, symbol = labels(table, rows)[control.row], column_symbol(table, control.metric)
            text = f"no better than its control {label} in {symbol} (better in fewer than {LEVEL:.0%} of the resamples)"
            kinds.append(("control", text, {r.key: r.label for r in judged}))
    return tuple(Mark(SYMBOLS[k % len(SYMBOLS)], *kind) for k, kind in enumerate(kinds) if kind[2])


def mean(sample: Sample | None) -> float | None:
    """The finite mean of an entry, or None."""
    if sample is None or (sample.point is None and not any(map(math.isfinite, sample.value.values()))):
        return None
    return centre(sample)


def control_of(table: Report, row: Row) -> Control | None:
    """The control that a row has to beat: its control if it has one, otherwise the table's for methods. In a table
    that runs across a key it is the control at the same value."""
    control = row.control or (table.control if row.group in METHODS else None)
    if control is None:
        return None
    _, split, value = row.key.partition("@")
    at_value = control.row if "@" in control.row else control.row + split + value
    return None if at_value == row.key else Control(at_value, control.metric)


def beats(
    row: Row, control: Control, values: Callable[[str, str], Sample | None], directions: Mapping[str, str | None]
) -> bool:
    """Whether a row is better than its control by the bootstrap. True when either has no scores or the metric has no
    direction."""
    better = directions.get(control.metric)
    if better is None or any(mean(values(key, control.metric)) is None for key in (row.key, control.row)):
        return True
    ours, theirs = (Value((Term(key),)) for key in (row.key, control.row))
    judged = judge_pair(Pair(control.metric, ours, "<" if better == "lower" else ">", theirs), values)
    return judged.verdict == HOLDS


def is_best(
    row: str, others: Sequence[str], metric: str, better: str, values: Callable[[str, str], Sample | None]
) -> bool:
    """Whether a row is better than every other row by the bootstrap.

    Single numbers cannot be resampled. They are compared as they are when enough images are behind them. Rows of the
    nearest means are compared first.
    """

    def beaten(other: str) -> bool:
        ours, theirs = (Value((Term(key),)) for key in (row, other))
        return judge_pair(Pair(metric, ours, "<" if better == "lower" else ">", theirs), values).verdict == HOLDS

    row_mean = mean(values(row, metric))
    return all(beaten(other) for other in sorted(others, key=lambda key: abs(mean(values(key, metric)) - row_mean)))


def labels(table: Report, rows: Sequence[Row]) -> dict[str, str]:
    return {r.key: r.label for r in rows}


def column_symbol(table: Report, metric: str) -> str:
    column = table.column(metric)
    return metric if column is None else column.symbol


def latex(symbols: str) -> str:
    """The marks as a LaTeX superscript."""
    return "" if not symbols else "$^{" + "".join(LATEX[s] for s in symbols) + "}$"
