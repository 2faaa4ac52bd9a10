"""The tables and figures of the papers: rows, columns, numbers and claims, read from `reports/*.yaml`."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pomelo_lab.config.describe import did_you_mean
from pomelo_lab.config.hints import Natural
from pomelo_lab.results.grammar import pairs
from pomelo_lab.results.report_check import (
    REQUIRED,
    TABLE,
    check_controls,
    check_fields,
    check_hints,
    check_keys,
    check_values,
    find_named,
    items,
    parse_test,
    parse_values,
    read_content,
    row_keys,
)

FOLDER = Path(__file__).with_name("reports")

Group = Literal["", "proposed", "baseline", "extra", "control", "limit", "reference", "yours"]


@dataclass(frozen=True)
class Column:
    """One measured quantity.

    Args:
        metric: key in the suite, `metric[part]`, or a recorded cost (`evidence.COSTS`).
        arrow: as printed, "up", "down" or None.
        magnitude: True where 0 is best and signs do not matter.
        note: explains a printed arrow or formula that cannot be what the authors meant.
        optional: shown only where a job scored it or the paper printed it (metrics whose networks need their files).
        mark: "> 0.02" or "< 0.5"; rows whose mean crosses this limit are marked.
        mark_note: explains the mark.
        shown: False for a column that only marks rows.
        better: "higher", "lower" or "none", where it differs from the metric's direction (such as a metric's null).
    """

    metric: str
    symbol: str
    latex: str = ""
    group: str = ""
    arrow: Literal["up", "down"] | None = None
    digits: Natural = 3
    magnitude: bool = False
    note: str = ""
    optional: bool = False
    mark: str = ""
    mark_note: str = ""
    shown: bool = True
    better: Literal["higher", "lower", "none"] | None = None

    def __post_init__(self) -> None:
        if self.mark and not re.fullmatch(r"[<>]\s*-?[\d.]+", self.mark):
            raise ValueError(f"column {self.metric}: mark must be like '> 0.02' or '< 0.5', got {self.mark!r}")
        if self.mark_note and not self.mark:
            raise ValueError(f"column {self.metric}: mark_note needs a mark")

    def is_beyond(self, mean: float) -> bool:
        """Whether a mean lies beyond the limit of the mark."""
        limit = float(self.mark[1:])
        return mean > limit if self.mark[0] == ">" else mean < limit


@dataclass(frozen=True)
class Control:
    """The row that a method has to beat, and the metric of the comparison. A method that does not beat it has
    uninformative scores in other metrics."""

    row: str
    metric: str


@dataclass(frozen=True)
class Row:
    """One method.

    Args:
        method: a file of conf/method, or a sampler or explainer where the grid chooses these. In a report the key is
            the default. A name that does not exist in this package stands for a method of the paper, which has printed
            numbers only. None = a row selected by its point only; without a point the row has no cells, only printed
            numbers.
        group: "proposed", "baseline", "extra" (not in the paper), "control", "limit" (the ideal components),
            "reference" (not a method, never the best) or "yours".
        values: metric -> (mean, std or None), as printed; `metric@value` in tables that run across a config key.
        control: the control of this row; by default that of the table.
        point: config key -> value of the cells of this row, where one method has several rows.
        reach: "image" for methods that change whole images, "segment" for those that remove segments. Figures separate
            the two.
        name: the label without the values that a table runs across.
    """

    key: str
    label: str
    method: str | None = None
    group: Group = ""
    values: Mapping[str, tuple[float, float | None]] = field(default_factory=dict)
    note: str = ""
    control: Control | None = None
    point: Mapping[str, Any] = field(default_factory=dict)
    reach: Literal["image", "segment"] = "image"
    name: str = ""

    @property
    def plain_label(self) -> str:
        return self.name or self.label

    @property
    def plain_key(self) -> str:
        """The key without the values that a table runs across."""
        return self.key.partition("@")[0]


@dataclass(frozen=True)
class Claim:
    """A statement of the paper in our words, and the comparisons that must hold for it to be true (grammar:
    `pomelo_lab.results.grammar`).

    Args: note: explains the verdict, in whole sentences. It appears on the documentation's page of the table.
    """

    says: str
    section: str
    test: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """A table or figure of a paper, or one of ours.

    Args:
        id: also the name of the experiment preset that computes it.
        across: config key whose values split each row into several, `row@value` (Fig. 9: segmenter.n_segments).
        figure: module of `pomelo_lab.results.figure` that draws it, or the dotted path of another module.
        figure_options: keyword arguments of its `draw`.
        partial: show only these columns. Otherwise columns are added for other metrics that the jobs scored.
        hidden: rows of the table named by `like` that this one omits.
        control: the row that all methods have to beat.
        spread: kind of the printed ±, "std" over images or "standard_error" of the mean; our numbers use the same kind.
            "seeds" = over the means of several seeds where there are several, for grids that no paper printed.
        preset: False for a grid without a preset.
        head: heading of the column of row names.
        file: the yaml file that it was read from.
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
    spread: Literal["std", "standard_error", "seeds"] = "std"
    preset: bool = True
    head: str = "method"
    file: str = ""

    def column(self, metric: str) -> Column | None:
        return next((c for c in self.columns if c.metric == metric), None)

    def row(self, key: str) -> Row | None:
        return next((r for r in self.rows if r.key == key), None)

    @property
    def printed(self) -> tuple[str, ...]:
        """Keys of the methods in the paper. `others` in a claim stands for these."""
        return tuple(r.key for r in self.rows if r.group in ("proposed", "baseline"))


def load_report(table: str, folders: tuple[str, ...] = ()) -> Report:
    """Loads one report. Raises: KeyError, which names the reports that exist."""
    known = load_reports(folders)
    if table not in known:
        raise KeyError(f"no table {table!r}{did_you_mean(table, known)}; there are: {', '.join(known)}")
    return known[table]


@functools.cache
def load_reports(folders: tuple[str, ...] = ()) -> dict[str, Report]:
    """Loads every report by id: those of the package, then those of the user's config folders, `DIR/reports/*.yaml`.

    Raises: ValueError, in one line with the file, the table and the key, for a report that is wrong.
    """
    tables: dict[str, Report] = {}
    ours, others = sorted(FOLDER.glob("*.yaml")), (Path(folder, "reports") for folder in dict.fromkeys(folders))
    for path in [*ours, *(path for folder in others for path in sorted(folder.glob("*.yaml")))]:
        content = read_content(path)
        for number, entry in enumerate(content["tables"], 1):
            name = entry.get("id", number) if isinstance(entry, Mapping) else number
            try:
                table = parse_report(entry, content["paper"], base_of(entry, tables))
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}: table {name}: {error}") from error
            tables[table.id] = replace(table, file=str(path))
    return tables


def base_of(node: Any, tables: Mapping[str, Report]) -> Report | None:
    """The table named by `like`. Raises: ValueError for wrong keys, for an id that another table has, and for a table
    that does not exist."""
    check_keys(node, "keys", TABLE, REQUIRED)
    check_hints(node, Report)
    if node["id"] in tables:
        raise ValueError(f"id is taken by a table of {tables[node['id']].file}; expected another id")
    if "like" in node and node["like"] not in tables:
        near = did_you_mean(str(node["like"]), tables)
        raise ValueError(f"like: there is no table {node['like']!r}{near}; expected the id of a table above or of ours")
    return tables[node["like"]] if "like" in node else None


def parse_report(node: Mapping[str, Any], paper: str, base: Report | None = None) -> Report:
    """Parses one yaml entry. `like: <id>` takes rows, columns and control from another table; `columns: [key]` and
    `rows: [key]` select some of them."""
    rows = chosen_rows(node, base)
    control = table_control(node, rows, base)
    rows = tuple(replace(r, control=parse_control(r.control, control, r.key)) if r.control else r for r in rows)
    check_controls(control, rows)
    across = across_keys(node, rows, base)
    split = any("@" in r.key for r in rows)  # rows taken from a table that runs across a key
    columns = chosen_columns(node, base)
    metrics = [c.metric for c in (*columns, *(base.columns if base else ()))]
    check_values(items(node, "rows"), metrics, {} if split else across)
    if not split:
        for key, values in across.items():
            rows = tuple(at_value(row, key, value) for row in rows for value in values)
    report = Report(
        id=node["id"],
        title=node["title"],
        source=f"{paper}, {node['source']}",
        columns=columns,
        rows=rows,
        claims=tuple(parse_claim(check_fields(c, Claim)) for c in items(node, "claims")),
        across=across,
        figure=node.get("figure"),
        figure_options=node.get("figure_options", {}),
        notes=tuple(items(node, "notes")),
        partial=node.get("partial", "like" in node),
        control=control,
        spread=node.get("spread", base.spread if base else "std"),
        hidden=tuple(r for r in base.rows if r.key not in node["rows"]) if base and "rows" in node else (),
    )
    for test in (test for claim in report.claims for test in claim.test):
        pairs(test, report)  # raises ValueError for a wrong claim
    return report


def chosen_columns(node: Mapping[str, Any], base: Report | None) -> tuple[Column, ...]:
    """The columns of an entry. Columns that only mark rows accompany any columns taken from their table."""
    known = {c.metric: c for c in base.columns} if base else {}
    columns = tuple(
        find_named(c, known, "column") if isinstance(c, str) else Column(**check_fields(c, Column))
        for c in items(node, "columns", known)
    )
    present = {c.metric for c in columns}
    marking = [c for c in known.values() if c.mark and not c.shown and c.metric not in present]
    return (*columns, *(marking if columns else ()))


def chosen_rows(node: Mapping[str, Any], base: Report | None) -> tuple[Row, ...]:
    known = {r.key: r for r in base.rows} if base else {}
    return tuple(
        find_named(r, known, "row") if isinstance(r, str) else parse_row(check_fields(r, Row))
        for r in items(node, "rows", known)
    )


def across_keys(node: Mapping[str, Any], rows: Sequence[Row], base: Report | None) -> dict[str, tuple[Any, ...]]:
    """The keys that an entry runs across, with their values. Raises: ValueError where its rows run across other
    keys."""
    split = any("@" in r.key for r in rows)
    across = {key: tuple(values) for key, values in node.get("across", base.across if split else {}).items()}
    if split and across != base.across:
        raise ValueError(f"rows of {base.id} run across {dict(base.across)}, got across {across}")
    return across


def at_value(row: Row, key: str, value: Any) -> Row:
    """A row at one value of a key that its table runs across."""
    selects = row.method is not None or row.point
    return replace(
        row,
        key=f"{row.key}@{value}",
        label=f"{row.label}, {value}",
        name=row.plain_label,
        point={**row.point, key: value} if selects else {},
        values=pick_printed(row, value),
        control=row.control and replace(row.control, row=f"{row.control.row}@{value}"),
    )


def pick_printed(row: Row, value: Any) -> dict[str, tuple[float, float | None]]:
    """A row's printed numbers for one value of the key that a table runs across, given as `metric@value`."""
    return {name.removesuffix(f"@{value}"): number for name, number in row.values.items() if name.endswith(f"@{value}")}


def table_control(node: Mapping[str, Any], rows: Sequence[Row], base: Report | None) -> Control | None:
    """The control of an entry's methods: its control if given, otherwise that of the table named by `like`."""
    if "control" in node:
        return parse_control(node["control"], None, node["id"])
    return base.control if base and base.control and base.control.row in row_keys(rows) else None


def parse_control(node: Any, table: Control | None, owner: str) -> Control:
    """Parses `{row:, metric:}`, or the name of a row, which is compared in the table's metric."""
    if isinstance(node, Control):
        return node
    if isinstance(node, Mapping):
        return Control(**check_fields(node, Control))
    if table is None:
        raise ValueError(
            f"{owner}: control {node!r} names no metric: write {{row: {node}, metric: <column>}} or give "
            f"the table a control"
        )
    return Control(node, table.metric)


def parse_row(node: Mapping[str, Any]) -> Row:
    values = parse_values(node.get("values", {}), node["key"])
    usual = {"reach": "segment" if node.get("group") == "baseline" else "image"}
    if not node.get("point"):
        usual["method"] = node["key"]
    return Row(**{**usual, **node, "values": values})


def parse_claim(node: Mapping[str, Any]) -> Claim:
    test = parse_test(node["test"], node["says"])
    return Claim(says=node["says"], section=str(node["section"]), test=test, note=node.get("note", ""))
