"""The tables and figures of the papers: rows, columns, numbers and claims, read from `reports/*.yaml`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("reports")


@dataclass(frozen=True)
class Column:
    """One measured quantity.

    metric: key in the suite, `metric[part]`, or a recorded cost (`evidence.COSTS`). arrow: as printed, "up", "down" or
        None.
    magnitude: 0 is best, signs do not matter. note: where the printed arrow or formula cannot be what was meant.
        optional: shown where a job
    scored it or the paper printed it (metrics of published networks, which need their files).
    mark: "> 0.02" or "< 0.5": rows whose mean crosses the limit are marked, mark_note says what that means. shown:
        False where the column is
    there for its mark alone. better: "higher", "lower" or "none" where it is not the metric's own (a part of it, such
    as its null).
    """

    metric: str
    symbol: str
    latex: str = ""
    group: str = ""
    arrow: str | None = None
    digits: int = 3
    magnitude: bool = False
    note: str = ""
    optional: bool = False
    mark: str = ""
    mark_note: str = ""
    shown: bool = True
    better: str | None = None

    def __post_init__(self) -> None:
        if self.mark and not re.fullmatch(r"[<>]\s*-?[\d.]+", self.mark):
            raise ValueError(f"column {self.metric}: mark must be like '> 0.02' or '< 0.5', got {self.mark!r}")
        if self.better not in (None, "higher", "lower", "none"):
            raise ValueError(f"column {self.metric}: better must be higher, lower or none, got {self.better!r}")
        if self.mark_note and not self.mark:
            raise ValueError(f"column {self.metric}: mark_note needs a mark")

    def crossed(self, mean: float) -> bool:
        """Whether a mean is beyond the limit of the mark."""
        limit = float(self.mark[1:])
        return mean > limit if self.mark[0] == ">" else mean < limit


@dataclass(frozen=True)
class Control:
    """The row that a method has to beat, and the metric in which: otherwise its other scores say nothing about it."""

    row: str
    metric: str


@dataclass(frozen=True)
class Row:
    """One method.

    match: what selects its jobs: group -> choice, or a dotted config key -> value; empty for a method that does not
        exist here, whose printed
    numbers are shown. group: "proposed", "baseline", "control", "limit" (the ideal components) or "reference" (not a
    method, never the best).
    values: metric -> (mean, std or None), as printed; `metric@value` in tables that run across a config key. control:
        its own, else the table's.
    """

    key: str
    label: str
    match: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    values: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    note: str = ""
    control: Control | None = None


@dataclass(frozen=True)
class Claim:
    """What the paper says, in our words, and the orderings that would make it true (grammar:
    `pomelo_lab.results.claim`)."""

    says: str
    section: str
    test: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """A table or figure of a paper. Its id is the name of the experiment preset that reproduces it.

    across: config key whose values split each row in several, `row@value` (Fig. 9: segmenter.n_segments).
    figure: module of `pomelo_lab.results.figure` that draws it. figure_options: keyword arguments of its `draw`.
    partial: shows some columns of another table, so that other scored metrics are not added. hidden: rows of that table
        left out.
    control: what all methods have to beat. spread: what the printed ± is, "std" over images or "standard_error" of the
        mean; ours is shown alike.
    "seeds": over the means of several seeds where there are several, for grids, which no paper printed. preset: False
        for a grid without one.
    head: of the column of row names.
    """

    id: str
    title: str
    source: str
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    claims: tuple[Claim, ...] = ()
    across: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    figure: str | None = None
    figure_options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    partial: bool = False
    hidden: tuple[Row, ...] = ()
    control: Control | None = None
    spread: str = "std"
    preset: bool = True
    head: str = "method"

    def column(self, metric: str) -> Column | None:
        return next((c for c in self.columns if c.metric == metric), None)

    def row(self, key: str) -> Row | None:
        return next((r for r in self.rows if r.key == key), None)

    @property
    def printed(self) -> tuple[str, ...]:
        """Keys of the paper's own methods: what "others" in a claim ranges over."""
        return tuple(r.key for r in self.rows if r.group in ("proposed", "baseline"))


def load_report(table: str) -> Report:
    """One table. Raises KeyError naming the tables that exist."""
    known = load_reports()
    if table not in known:
        from pomelo_lab.config.signature import did_you_mean

        raise KeyError(f"no table {table!r}{did_you_mean(table, known)}; there are: {', '.join(known)}")
    return known[table]


@functools.cache
def load_reports() -> dict[str, Report]:
    """Every published table by id, in the order of the files."""
    import yaml

    tables: dict[str, Report] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        for entry in content["tables"]:
            base = tables.get(entry.get("like", ""))
            tables[entry["id"]] = parsed(entry, content["paper"], base)
    return tables


def parsed(node: Mapping[str, Any], paper: str, base: Report | None = None) -> Report:
    """One yaml entry; `like: <id>` takes rows, columns and control from another table, `columns: [key]` and `rows:
    [key]` choose among them."""
    known_columns = {c.metric: c for c in base.columns} if base else {}
    known_rows = {r.key: r for r in base.rows} if base else {}
    columns = tuple(known_columns[c] if isinstance(c, str) else Column(**c) for c in node.get("columns", known_columns))
    marking = [
        c for c in known_columns.values() if c.mark and not c.shown and c.metric not in {k.metric for k in columns}
    ]
    columns = (*columns, *(marking if columns else ()))
    rows = tuple(known_rows[r] if isinstance(r, str) else row_of(r) for r in node.get("rows", known_rows))
    keys = [r.key for r in rows]
    # of a table that runs across a key also the row before it was split
    known = {*keys, *(key.partition("@")[0] for key in keys)}
    inherited = base.control if base and base.control and base.control.row in known else None
    control = control_of(node["control"], None, node["id"]) if "control" in node else inherited
    rows = tuple(replace(r, control=control_of(r.control, control, r.key)) if r.control else r for r in rows)
    for needed in (control, *(r.control for r in rows)):
        if needed is not None and needed.row not in known:
            raise ValueError(f"table {node['id']}: control {needed.row!r} is no row; rows are {', '.join(keys)}")
    claims = tuple(claim_of(c) for c in node.get("claims", ()))
    split = tuple(r for r in rows if "@" in r.key)  # rows of a table that runs across a key stay as they are
    across = {key: tuple(values) for key, values in node.get("across", base.across if split else {}).items()}
    if split and across != base.across:
        raise ValueError(f"table {node['id']}: rows of {base.id} run across {dict(base.across)}, got across {across}")
    for key, values in () if split else across.items():
        rows = tuple(
            replace(
                r,
                key=f"{r.key}@{v}",
                label=f"{r.label}, {v}",
                match={**r.match, key: v},
                values=printed_at(r, v),
                control=r.control and replace(r.control, row=f"{r.control.row}@{v}"),
            )
            for r in rows
            for v in values
        )
    return Report(
        id=node["id"],
        title=node["title"],
        source=f"{paper}, {node['source']}",
        columns=columns,
        rows=rows,
        claims=claims,
        across=across,
        figure=node.get("figure"),
        figure_options=node.get("figure_options", {}),
        notes=tuple(node.get("notes", ())),
        partial="like" in node,
        control=control,
        spread=node.get("spread", base.spread if base else "std"),
        hidden=tuple(row for key, row in known_rows.items() if "rows" in node and key not in node["rows"]),
    )


def printed_at(row: Row, value: Any) -> dict[str, tuple[float, float | None]]:
    """A row's numbers for one value of the key that a table runs across, given as `metric@value`."""
    return {name.removesuffix(f"@{value}"): number for name, number in row.values.items() if name.endswith(f"@{value}")}


def control_of(node: Any, table: Control | None, owner: str) -> Control:
    """`{row:, metric:}`, or only a row, then on the table's metric."""
    if isinstance(node, Control):
        return node
    if isinstance(node, Mapping):
        return Control(**node)
    if table is None:
        raise ValueError(
            f"{owner}: control {node!r} names no metric: write {{row: {node}, metric: <column>}} or give "
            f"the table a control"
        )
    return Control(node, table.metric)


def row_of(node: Mapping[str, Any]) -> Row:
    values = {
        k: (float(v[0]), float(v[1])) if isinstance(v, list) else (float(v), None)
        for k, v in node.get("values", {}).items()
    }
    return Row(**{**node, "values": values})


def claim_of(node: Mapping[str, Any]) -> Claim:
    test = node["test"]
    return Claim(
        says=node["says"], section=str(node["section"]), test=(test,) if isinstance(test, str) else tuple(test)
    )
