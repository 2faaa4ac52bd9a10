"""A report filled with our numbers: rows x columns of entries, and the verdicts on the paper's claims."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pomelo_lab.config.entry import searched_folders
from pomelo_lab.config.roles import ROLES
from pomelo_lab.results.claim import Sample, Verdict, judge
from pomelo_lab.results.columns import direction, extra_columns, is_shown
from pomelo_lab.results.entry import Entry, make_entry, mark_best
from pomelo_lab.results.evidence import sample
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.marks import METHODS, Mark, marks
from pomelo_lab.results.method import changed_arguments, is_left_out, matches
from pomelo_lab.results.printed import describe_printed
from pomelo_lab.results.report import Column, Report, Row
from pomelo_lab.results.status import detail, state


@dataclass(frozen=True)
class Table:
    """The content of a table, which all output formats share."""

    report: Report
    scale: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    directions: Mapping[str, str | None]
    entries: Mapping[tuple[str, str], Entry]
    verdicts: tuple[Verdict, ...]
    own: tuple[str, ...]  # verdict of each claim on the numbers that the paper printed
    states: Mapping[str, int]  # number of jobs by state
    overrides: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    remarks: tuple[str, ...] = ()  # failed and skipped jobs, omitted metrics
    finished: Mapping[str, Sequence[GridCell]] = field(default_factory=dict)  # the finished cells of each row

    def symbols(self, row: Row) -> str:
        """The footnote symbols of a row; "" for none."""
        return "".join(m.symbol for m in self.marks if row.key in m.rows)

    @property
    def command(self) -> str:
        """The command that computes the missing cells."""
        preset = [f"experiment={self.report.id}"] if self.report.preset else []
        return " ".join(["python -m pomelo_lab.run -m", *preset, *map(shlex.quote, self.overrides)])

    def entry(self, row: Row, column: Column) -> Entry:
        return self.entries[row.key, column.metric]

    @property
    def complete(self) -> bool:
        return set(self.states) <= {"done", "skipped"}

    def notes(self) -> list[str]:
        """The notes below the table."""
        marked = [f"{m.symbol} {m.text}: {', '.join(m.rows.values())}" for m in self.marks]
        explained = [f"{c.symbol}: {c.note}" for c in self.columns if c.note]
        methods = dict.fromkeys(f"{r.plain_label}: {r.note}" for r in self.rows if r.note)
        numbers = [note for column in self.columns for note in self.column_notes(column)]
        return [*marked, *explained, *methods, *self.row_notes(), *numbers, *self.report.notes, *self.remarks]

    def row_notes(self) -> Iterator[str]:
        """Notes that explain why some rows have no numbers."""
        unbuilt = dict.fromkeys(r.plain_label for r in self.rows if self.columns and self.row_state(r) == "not built")
        if unbuilt:
            yield f"not in this version (–): {', '.join(unbuilt)}"
        if any(e.state == "not applicable" for e in self.entries.values()):
            yield "n/a: the method has no such quantity"
        unasked = [r.label for r in self.rows if self.row_state(r) == "not asked"]
        if unasked and len(unasked) < len(self.rows):
            yield f"not in the grid that was asked for (–): {', '.join(unasked)}"

    def column_notes(self, column: Column) -> Iterator[str]:
        """Notes that explain the numbers of a column when they are not means over all images."""
        entries = {r.label: self.entry(r, column) for r in self.rows}
        points = [e for e in entries.values() if e.std is None and e.state == "done"]
        if repeats := {e.repeats for e in points if e.std_repeats is not None}:
            what = "random draws" if repeats == {1} else f"{' or '.join(map(str, sorted(repeats)))} repeats"
            yield f"{column.symbol}: ± over {what} of a set statistic, not over images"
        if any(e.interval for e in points):
            interval = "the 95 % interval of a set statistic over resampled images"
            yield f"{column.symbol}: in square brackets behind it {interval}"
        if undefined := [f"{label} {e.n_nan} images" for label, e in entries.items() if e.n_nan]:
            yield f"{column.symbol}: no finite value, left out: {', '.join(undefined)}"

    def row_state(self, row: Row) -> str:
        states = {self.entry(row, c).state for c in self.columns}
        return states.pop() if len(states) == 1 else "mixed"


def build(report: Report, cells: Sequence[GridCell], overrides: Sequence[str] = ()) -> Table:
    """Builds the table from the stored results of its cells. Cells that belong to no row of the report get rows of
    their own."""
    now = {id(cell): state(cell) for cell in cells}
    members = cells_by_row(report, cells, overrides)
    rows = tuple(row for row, _ in members)
    states = {row.key: [now[id(cell)] for cell in row_cells] for row, row_cells in members}
    done = {row.key: [cell for cell in row_cells if now[id(cell)] == "done"] for row, row_cells in members}
    finished = [cell for row_cells in done.values() for cell in row_cells]
    shown = (c for c in report.columns if c.shown and is_shown(c, report, finished))
    columns = (*shown, *extra_columns(report, finished, searched_folders(overrides)))
    samples: dict[tuple[str, str], Sample | None] = {}

    def values(row: str, metric: str) -> Sample | None:
        if (row, metric) not in samples:
            samples[row, metric] = sample(done.get(row, []), metric, report.column(metric))
        return samples[row, metric]

    directions = {c.metric: direction(c, cells) for c in columns}
    folders = searched_folders(overrides)
    entries = {
        (r.key, c.metric): make_entry(r, c, states[r.key], done[r.key], values, folders) for r in rows for c in columns
    }
    for c in columns:
        mark_best(entries, [r.key for r in rows if r.group in METHODS], c, directions[c.metric], values)
    better = {c.metric: direction(c, cells) for c in report.columns} | directions
    all_states = list(now.values())
    return Table(
        report=report,
        scale=str((cells[0].config.get("scale") or {}).get("name", "")) if cells else "",
        columns=columns,
        rows=rows,
        directions=directions,
        entries=entries,
        verdicts=tuple(judge(claim, report, values) for claim in report.claims),
        own=tuple(describe_printed(claim, report) for claim in report.claims),
        states={job_state: all_states.count(job_state) for job_state in dict.fromkeys(all_states)},
        overrides=tuple(overrides),
        marks=marks(report, rows, values, better),
        remarks=tuple(remarks(cells, now)),
        finished=done,
    )


def cells_by_row(
    report: Report, cells: Sequence[GridCell], overrides: Sequence[str]
) -> list[tuple[Row, list[GridCell]]]:
    """All rows of a table with their cells: the rows of the report, then rows for the remaining cells."""
    members = []
    for row in report.rows:
        members += split_by_changes(row, [cell for cell in cells if matches(cell, row)], overrides)
    others = [c for c in cells if not any(matches(c, row) for row in (*report.rows, *report.hidden))]
    taken = {row.key for row in (*report.rows, *report.hidden)} | {row.key for row, _ in members}
    return members + [(row, [c for c in others if matches(c, row)]) for row in extra_rows(others, taken, overrides)]


def split_by_changes(row: Row, cells: Sequence[GridCell], overrides: Sequence[str]) -> list[tuple[Row, list[GridCell]]]:
    """Adds the method's arguments that the command changed to a row's label.

    Cells with different changes become separate rows. The printed numbers then stay in a row without cells.
    """
    groups: dict[str, list[GridCell]] = {}
    for cell in cells:
        changes = changed_arguments(cell, overrides, row)
        groups.setdefault("".join(f", {name}={value}" for name, value in changes.items()), []).append(cell)
    if len(groups) < 2:
        text = "".join(groups)
        return [(replace(row, label=row.label + text, name=row.plain_label + text) if text else row, list(cells))]
    changed = [
        (replace(row, key=row.key + text, label=row.label + text, name=row.plain_label + text, values={}), group)
        for text, group in groups.items()
    ]
    return [*([(row, [])] if row.values else []), *changed]


def extra_rows(cells: Sequence[GridCell], taken: Collection[str] = (), overrides: Sequence[str] = ()) -> list[Row]:
    """Makes a row for each point of the grid that the report lacks, such as a user's sampler or another
    segmentation.

    A cell may be named after a method whose components the command has replaced. Its row then says which, so that it
    has neither the label nor the key of the report's row.

    Args:
        taken: keys of rows that the table has already.
        overrides: the command's own.
    """
    replaced = ", ".join(o.lstrip("+") for o in overrides if o.lstrip("+").partition("=")[0] in ROLES)
    by_label: dict[str, Row] = {}
    for cell in cells:
        point = {k.lstrip("+"): v for k, v in cell.point.items() if k != "seed" and not is_left_out(cell, k)}
        if not point:
            group = "method" if "method" in cell.choices else "sampler"
            point = {group: cell.choices.get(group)}
        label = ", ".join(str(v) if k in cell.choices else f"{k.rpartition('.')[2]}={v}" for k, v in point.items())
        label = f"{label}, {replaced or 'changed'}" if label in taken else label
        by_label[label] = Row(key=label, label=label, point=point, group="yours")
    return list(by_label.values())


def remarks(cells: Sequence[GridCell], now: Mapping[int, str]) -> list[str]:
    """Remarks on failed jobs with their reasons, and on rows and metrics that the data set does not allow."""
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
