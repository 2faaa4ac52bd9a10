"""The columns of a table, and which direction of each is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pomelo_lab.config.suites import find_targets
from pomelo_lab.results.evidence import COSTS
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.report import Column, Report, load_reports


def is_shown(column: Column, report: Report, finished: Sequence[GridCell]) -> bool:
    """Whether a column is shown. An optional column is shown only where a job scored it or the paper printed it."""
    scored = any(column.metric.partition("[")[0] in cell.summary for cell in finished)
    return not column.optional or scored or any(column.metric in row.values for row in report.rows)


def extra_columns(report: Report, done: Sequence[GridCell], folders: tuple[str, ...] = ()) -> list[Column]:
    """Columns for scored metrics that the paper's table lacks, with the titles that other tables give them.

    The titles of our tables come before those of the user's folders.
    """
    tables = [*load_reports(folders).values(), *load_reports().values()]
    titles = {c.metric: c.symbol for other in tables for c in other.columns}
    known = {c.metric.partition("[")[0] for c in report.columns}
    names = dict.fromkeys(name for cell in done for name in cell.summary)
    if not report.columns or report.partial:
        return []
    return [
        Column(metric=name, symbol=titles.get(name, name), group="not in paper") for name in names if name not in known
    ]


def direction(column: Column, cells: Iterable[GridCell]) -> str | None:
    """Which direction of a column is better: "higher", "lower" or None.

    The column may say so. Otherwise the metric's class does, and the printed arrow for metrics whose class no suite
    contains.
    """
    from pomelo_lab.config.signature import locate

    name = column.metric.partition("[")[0]
    if column.better is not None:
        return None if column.better == "none" else column.better
    if name in COSTS:
        return "lower"
    for cell in cells:
        if name in cell.summary:
            return cell.summary[name]["direction"]
    configs = ((cell.config.get("metrics") or {}).get(name) for cell in cells)
    target = next((node["_target_"] for node in configs if node), None) or find_targets().get(name)
    return locate(target).direction if target else {"up": "higher", "down": "lower"}.get(column.arrow or "")
