"""The names in a report that the configs of a grid determine: metrics, methods, config keys and figures.

They are checked before the first job, as a wrong name would only be an empty cell of the finished table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pomelo_lab.config.describe import did_you_mean
from pomelo_lab.config.suites import find_metrics
from pomelo_lab.config.tree import leaves
from pomelo_lab.results.evidence import COSTS
from pomelo_lab.results.grammar import pairs
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.method import choice_or_value, is_built, is_left_out, load_methods, matches, method_names
from pomelo_lab.results.report import Report


def check_names(report: Report, cells: Sequence[GridCell], folders: tuple[str, ...] = ()) -> None:
    """Raises ValueError, in one line with the file, the table and the key, for the first name that does not exist.

    Args: cells: the jobs of the table, finished or not; folders: the user's config folders.
    """
    for problem in name_problems(report, cells, folders):
        raise ValueError(f"{report.file}: table {report.id}: {problem}")


def name_problems(report: Report, cells: Sequence[GridCell], folders: tuple[str, ...]) -> Iterator[str]:
    """The names that do not exist, each with what was expected."""
    scored = {name for cell in cells for name in cell.config.get("metrics") or {}}
    known = sorted({*COSTS, *find_metrics(folders), *scored})
    for key, metric in metric_names(report):
        name = metric.partition("[")[0]
        if name not in known:
            yield (
                f"{key}: metric {name!r} is unknown{did_you_mean(name, known)}; expected a key of a suite, a name of "
                f"conf/metric or {' or '.join(COSTS)}"
            )
    for row in report.rows:
        named = row.method and "/" not in row.method  # "explainer/sampler" stands for components of a grid
        if not row.values and named and not (is_built(row, folders) or any(matches(cell, row) for cell in cells)):
            near = did_you_mean(row.method, load_methods(folders))
            yield (
                f"row {row.key}: method {row.method!r} is unknown{near}; expected a file of conf/method, or printed "
                f"values"
            )
    yield from point_problems(report, cells)
    yield from figure_problems(report)


def point_problems(report: Report, cells: Sequence[GridCell]) -> Iterator[str]:
    """The config keys by which rows select their cells and which no cell of the row's method has."""
    for row in report.rows:
        alike = [cell for cell in cells if row.point and row.method in method_names(cell)]
        for key, value in row.point.items() if alike else ():
            if value is not None and all(choice_or_value(c, key) is None and not is_left_out(c, key) for c in alike):
                known = [name for cell in alike for name in (*cell.choices, *dict(leaves(cell.config)))]
                yield f"row {row.key}: point: no job of the row has the key {key}{did_you_mean(key, known)}"


def metric_names(report: Report) -> Iterator[tuple[str, str]]:
    """The metrics that a report names, each with the key under which it stands."""
    for column in report.columns:
        yield f"column {column.metric}", column.metric
    controls = [("control", report.control), *((f"row {row.key}: control", row.control) for row in report.rows)]
    yield from ((key, control.metric) for key, control in controls if control is not None)
    for claim in report.claims:
        for test in claim.test:
            yield from ((f"claim {test!r}", pair.metric) for pair in pairs(test, report))


def figure_problems(report: Report) -> Iterator[str]:
    """The problems of a report's figure and of the options that it is drawn with."""
    from pomelo_lab.results.figure.dispatch import list_options

    if not report.figure:
        if report.figure_options:
            yield f"figure_options: {', '.join(report.figure_options)} need a figure"
        return
    try:
        known = list_options(report.figure)
    except ValueError as error:
        yield f"figure: {error}"
        return
    for name in report.figure_options:
        if name not in known:
            yield (
                f"figure_options: {name} is unknown{did_you_mean(str(name), known)}; {report.figure} has "
                f"{', '.join(known) or 'no options'}"
            )
