"""Which columns a table shows, and which direction of each is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pomelo_lab.results.evidence import COSTS
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.report import Column, Report, load_reports


def is_shown(column: Column, report: Report, finished: Sequence[GridCell]) -> bool:
    """Optional columns are shown where a job scored them or the paper printed them."""
    scored = any(column.metric.partition("[")[0] in cell.summary for cell in finished)
    return not column.optional or scored or any(column.metric in row.values for row in report.rows)


def extra_columns(report: Report, done: Sequence[GridCell]) -> list[Column]:
    """A column for each scored metric that the paper's table does not have, under the title that another table gives
    it."""
    titles = {c.metric: c.symbol for other in load_reports().values() for c in other.columns}
    known = {c.metric.partition("[")[0] for c in report.columns}
    names = dict.fromkeys(name for cell in done for name in cell.summary)
    if not report.columns or report.partial:
        return []
    return [
        Column(metric=name, symbol=titles.get(name, name), group="not in paper") for name in names if name not in known
    ]


def direction(column: Column, cells: Iterable[GridCell]) -> str | None:
    """ "higher", "lower" or None, from the metric's class, wherever it is known from; from the printed arrow for
    classes that no suite has."""
    from pomelo_lab.config.signature import locate
    from pomelo_lab.config.suites import find_targets

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
