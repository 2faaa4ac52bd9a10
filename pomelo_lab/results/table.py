"""A published table with our numbers in it: rows x columns of entries, and the verdicts on the paper's claims."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pomelo_lab.config.tree import value_at
from pomelo_lab.results.claim import MIN_IMAGES, Sample, Verdict, judge
from pomelo_lab.results.evidence import COSTS, cell_sample, mean_of, sample, std
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.marks import METHODS, Mark, is_best, marks
from pomelo_lab.results.report import Claim, Column, Report, Row, load_reports
from pomelo_lab.results.status import detail, state


@dataclass(frozen=True)
class Entry:
    """One number of ours beside the printed one.

    state: "done"; "undefined" (no finite value); "not applicable" (the method has no such quantity); "not scored" (the
        job leaves this metric out); "missing", "running", "interrupted", "failed", "damaged"; "skipped" (the data set
        cannot build it); "not built" (the row's component does not exist in this version); "not asked" (the grid was
        narrowed down and has no job of the row).
    repeats: finished jobs behind it (seeds of a grid), or seeds of a set statistic; std is over images, std_repeats
        over the repeats' means, or over random draws as the statistic itself gives it. interval: of a set statistic,
        over resampled images.
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
        """The number after ±: standard deviation over images, or standard error of their mean; over the repeats of a
        set statistic, or of a job."""
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


@dataclass(frozen=True)
class Table:
    """All that the renderings show."""

    report: Report
    scale: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    directions: Mapping[str, str | None]
    entries: Mapping[tuple[str, str], Entry]
    verdicts: tuple[Verdict, ...]
    own: tuple[str, ...]  # verdict of each claim on the paper's own printed numbers, and what of the claim they cover
    states: Mapping[str, int]  # jobs by state
    overrides: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    remarks: tuple[str, ...] = ()  # on jobs: failed, skipped, metrics left out

    def symbols(self, row: Row) -> str:
        """The marks of a row, "" for none."""
        return "".join(m.symbol for m in self.marks if row.key in m.rows)

    @property
    def command(self) -> str:
        """What computes the missing cells."""
        preset = [f"experiment={self.report.id}"] if self.report.preset else []
        return " ".join(["python -m pomelo_lab.run -m", *preset, *map(shlex.quote, self.overrides)])

    def entry(self, row: Row, column: Column) -> Entry:
        return self.entries[row.key, column.metric]

    @property
    def complete(self) -> bool:
        return set(self.states) <= {"done", "skipped"}

    def notes(self) -> list[str]:
        """What a reader has to know beside the numbers."""
        out = [f"{m.symbol} {m.text}: {', '.join(m.rows.values())}" for m in self.marks]
        out += [f"{c.symbol}: {c.note}" for c in self.columns if c.note]
        names = {r.key: r.label.rpartition(", ")[0] if "@" in r.key else r.label for r in self.rows}
        out += dict.fromkeys(f"{names[r.key]}: {r.note}" for r in self.rows if r.note)
        if unbuilt := dict.fromkeys(
            names[r.key] for r in self.rows if self.columns and self.row_state(r) == "not built"
        ):
            out.append(f"not in this version (–): {', '.join(unbuilt)}")
        if any(e.state == "not applicable" for e in self.entries.values()):
            out.append("n/a: the method has no such quantity")
        if (unasked := [r.label for r in self.rows if self.row_state(r) == "not asked"]) and len(unasked) < len(
            self.rows
        ):
            out.append(f"not in the grid that was asked for (–): {', '.join(unasked)}")
        for c in self.columns:
            points = [e for r in self.rows if (e := self.entry(r, c)).std is None and e.state == "done"]
            if repeats := {e.repeats for e in points if e.std_repeats is not None}:
                what = "random draws" if repeats == {1} else f"{' or '.join(map(str, sorted(repeats)))} repeats"
                out.append(f"{c.symbol}: ± over {what} of a set statistic, not over images")
            if any(e.interval for e in points):
                out.append(
                    f"{c.symbol}: in square brackets behind it the 95 % interval of a set statistic over "
                    f"resampled images"
                )
            nan = {r.label: self.entry(r, c).n_nan for r in self.rows if self.entry(r, c).n_nan}
            if nan:
                out.append(
                    f"{c.symbol}: no finite value, left out: " + ", ".join(f"{k} {v} images" for k, v in nan.items())
                )
        return [*out, *self.report.notes, *self.remarks]

    def row_state(self, row: Row) -> str:
        states = {self.entry(row, c).state for c in self.columns}
        return states.pop() if len(states) == 1 else "mixed"


def build(table: Report, cells: Sequence[GridCell], overrides: Sequence[str] = ()) -> Table:
    """The table from whatever its cells hold on disk; cells that match no published row become rows of their own."""
    extra = extra_rows([c for c in cells if not any(matches(c, r) for r in (*table.rows, *table.hidden))])
    rows = (*table.rows, *extra)
    now = {id(c): state(c) for c in cells}
    by_row = {r.key: [c for c in cells if matches(c, r)] for r in rows}
    done = {key: [c for c in row_cells if now[id(c)] == "done"] for key, row_cells in by_row.items()}
    finished = [c for row_cells in done.values() for c in row_cells]
    columns = (*(c for c in table.columns if c.shown and wanted(c, table, finished)), *extra_columns(table, finished))
    samples: dict[tuple[str, str], Sample | None] = {}

    def values(row: str, metric: str) -> Sample | None:
        if (row, metric) not in samples:
            samples[row, metric] = sample(done.get(row, []), metric, table.column(metric))
        return samples[row, metric]

    directions = {c.metric: direction(c, cells) for c in columns}
    entries = {}
    for r in rows:
        for c in columns:
            entries[r.key, c.metric] = entry(r, c, [now[id(x)] for x in by_row[r.key]], done[r.key], values)
    for c in columns:
        mark_best(entries, [r.key for r in rows if r.group in METHODS], c, directions[c.metric], values)
    better = {c.metric: direction(c, cells) for c in table.columns} | directions
    scale = str((cells[0].config.get("scale") or {}).get("name", "")) if cells else ""
    return Table(
        report=table,
        scale=scale,
        columns=columns,
        rows=rows,
        directions=directions,
        entries=entries,
        verdicts=tuple(judge(claim, table, values) for claim in table.claims),
        own=tuple(own_words(claim, table) for claim in table.claims),
        states={job_state: list(now.values()).count(job_state) for job_state in dict.fromkeys(now.values())},
        overrides=tuple(overrides),
        marks=marks(table, rows, values, better),
        remarks=tuple(remarks(cells, now)),
    )


def remarks(cells: Sequence[GridCell], now: Mapping[int, str]) -> list[str]:
    """Which jobs failed, and why; which rows and metrics the data set does not allow."""
    out = [f"{now[id(c)]}: {c.name}: {detail(c)}".rstrip(": ") for c in cells if now[id(c)] in ("failed", "damaged")]
    reasons: dict[str, list[str]] = {}
    for c in cells:
        if now[id(c)] == "skipped":
            reasons.setdefault(c.lacks, []).append(c.name)
    out += [f"not on this data (–): {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    dropped: dict[str, list[str]] = {}
    for key, reason in {key: reason for c in cells for key, reason in c.config.get("left_out", {}).items()}.items():
        dropped.setdefault(reason, []).append(key.removeprefix("metrics."))
    return out + [f"left out on this data: {', '.join(keys)}: {reason}" for reason, keys in dropped.items()]


def wanted(column: Column, table: Report, finished: Sequence[GridCell]) -> bool:
    """Optional columns are shown where a job scored them or the paper printed them."""
    scored = any(column.metric.partition("[")[0] in cell.summary for cell in finished)
    return not column.optional or scored or any(column.metric in row.values for row in table.rows)


def matches(cell: GridCell, row: Row) -> bool:
    """Whether a job belongs to a row; none belongs to a row that matches nothing."""
    return bool(row.match) and all(str(choice_or_value(cell, key)) == str(wanted) for key, wanted in row.match.items())


def left_out(cell: GridCell, key: str) -> bool:
    """Whether a key is, or belongs to, an argument that the preset gives and the cell's data set does not have."""
    return any(
        key == name or key.startswith(f"{name}.")
        for name in cell.config.get("left_out", {})
        if name.startswith("dataset.")
    )


def choice_or_value(cell: GridCell, key: str) -> Any:
    """What a grid gave a key, a group's choice, or the value of a dotted config key; None for what the data set does
    not have."""
    if left_out(cell, key):
        return None
    if key in (given := {name.lstrip("+"): value for name, value in cell.point.items()}):
        return given[key]
    if key in cell.choices:
        return cell.choices[key]
    return value_at(cell.config, key)


def extra_rows(cells: Sequence[GridCell]) -> list[Row]:
    """A row for each distinct point of the grid that the paper does not have (your own sampler, another
    segmentation)."""
    by_label: dict[str, Row] = {}
    for cell in cells:
        point = {k.lstrip("+"): v for k, v in cell.point.items() if k != "seed" and not left_out(cell, k)}
        if not point:
            role = "row" if "row" in cell.choices else "sampler"
            point = {role: cell.choices.get(role)}
        label = ", ".join(str(v) if k in cell.choices else f"{k.rpartition('.')[2]}={v}" for k, v in point.items())
        by_label[label] = Row(key=label, label=label, match=point, group="yours")
    return list(by_label.values())


def extra_columns(table: Report, done: Sequence[GridCell]) -> list[Column]:
    """A column for each scored metric that the paper's table does not have, under the title that another table gives
    it."""
    titles = {c.metric: c.symbol for other in load_reports().values() for c in other.columns}
    known = {c.metric.partition("[")[0] for c in table.columns}
    names = dict.fromkeys(name for cell in done for name in cell.summary)
    if not table.columns or table.partial:
        return []
    return [
        Column(metric=name, symbol=titles.get(name, name), group="not in paper") for name in names if name not in known
    ]


def direction(column: Column, cells: Iterable[GridCell]) -> str | None:
    """ "higher", "lower" or None, from the metric's class, wherever it is known from; from the printed arrow for
    classes that no suite has."""
    from pomelo_lab.config.signature import locate
    from pomelo_lab.config.suites import suite_targets

    name = column.metric.partition("[")[0]
    if column.better is not None:
        return None if column.better == "none" else column.better
    if name in COSTS:
        return "lower"
    for cell in cells:
        if name in cell.summary:
            return cell.summary[name]["direction"]
    configs = ((cell.config.get("metrics") or {}).get(name) for cell in cells)
    target = next((node["_target_"] for node in configs if node), None) or suite_targets().get(name)
    return locate(target).direction if target else {"up": "higher", "down": "lower"}.get(column.arrow or "")


def entry(row: Row, column: Column, states: Sequence[str], done: Sequence[GridCell], values: Any) -> Entry:
    """One entry of the table. states: of all jobs of the row; done: its finished ones."""
    printed = row.values.get(column.metric)
    if not done:
        worst = next(
            (s for s in ("failed", "damaged", "interrupted", "running", "missing", "skipped") if s in states), "missing"
        )
        return Entry(worst if states else "not built" if not_built(row) else "not asked", printed=printed)
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
    """The interval that a set statistic gives with itself; None for several jobs, whose intervals have no common
    meaning."""
    details = summaries[0].get("details") or {}
    return (details["low"], details["high"]) if len(summaries) == 1 and {"low", "high"} <= set(details) else None


def not_built(row: Row) -> bool:
    """Whether one of the row's choices has no yaml in conf/, or the row has no choices: a method that does not exist
    here."""
    from pomelo_lab.config.entry import CONF

    groups = {group: choice for group, choice in row.match.items() if Path(CONF, group).is_dir()}
    return not row.match or any(not Path(CONF, group, f"{choice}.yaml").exists() for group, choice in groups.items())


def mark_best(
    entries: dict[tuple[str, str], Entry],
    rows: Sequence[str],
    column: Column,
    better: str | None,
    values: Callable[[str, str], Sample | None],
) -> None:
    """Set the best mean of a column in bold where the images bear it out: better than every other row by the paired
    bootstrap.

    Equal means share it. Nothing is bold over few images, whatever the means say.
    """
    from dataclasses import replace

    finished = {r: entries[r, column.metric] for r in rows if entries[r, column.metric].state == "done"}
    if better is None or len(finished) < 2:
        return
    best = (max if better == "higher" else min)(e.mean for e in finished.values())
    first, others = [r for r in finished if finished[r].mean == best], [r for r in finished if finished[r].mean != best]
    few = any(0 < e.n < MIN_IMAGES for e in finished.values())
    if not few and is_best(first[0], others, column.metric, better, values):
        for r in first:
            entries[r, column.metric] = replace(finished[r], best=True)


def own_judged(claim: Claim, table: Report) -> Verdict:
    """The claim judged on the paper's own printed means."""

    def printed(row: str, metric: str) -> Sample | None:
        published_row = table.row(row)
        return (
            Sample({}, point=published_row.values[metric][0])
            if published_row is not None and metric in published_row.values
            else None
        )

    return judge(claim, table, printed)


def own_verdict(claim: Claim, table: Report) -> str:
    """Whether the paper's own printed means agree with its claim; "" when it printed none of them."""
    judged = own_judged(claim, table).judged
    return "" if not judged else "agrees" if all(p.verdict == "holds" for p in judged) else "disagrees"


def own_words(claim: Claim, table: Report) -> str:
    """`own_verdict`, and what it does not rest on: measures of which the paper printed nothing, rows that it left
    out."""
    judged, word = own_judged(claim, table), own_verdict(claim, table)
    if not word:
        return "not printed"
    covered = {p.pair.metric for p in judged.judged}
    silent = dict.fromkeys(p.pair.metric for p in judged.pairs if p.pair.metric not in covered)
    symbols = [column.symbol if (column := table.column(metric)) else metric for metric in silent]
    if symbols:
        return f"{word}; nothing printed of {', '.join(symbols)}"
    return (
        word
        if len(judged.judged) == len(judged.pairs)
        else f"{word} ({len(judged.judged)} of {len(judged.pairs)} pairs)"
    )
