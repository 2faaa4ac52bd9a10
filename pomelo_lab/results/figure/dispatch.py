"""From a published entry to its figure: `figure: projection` is the module `pomelo_lab.results.figure.projection`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.report import Report


def draw_figure(
    report: Report, cells: Sequence[GridCell], folder: Path, marks: Mapping[str, str] = MappingProxyType({})
) -> Path | None:
    """Draw an entry's figure from the finished cells, in the order of its rows; yours come last.

    Args: marks: row -> its symbols in the table, which the legend repeats.
    Returns: the PNG (a PDF lies beside it), or None when nothing is finished.
    """
    from pomelo_lab.results.figure.style import key, marked
    from pomelo_lab.results.table import matches

    done = [c for c in cells if c.state == "done"]
    ordered = [c for row in report.rows for c in done if matches(c, row)]
    ordered += [c for c in done if not any(matches(c, row) for row in (*report.rows, *report.hidden))]
    if not ordered or not report.figure:
        return None
    module = importlib.import_module(f"pomelo_lab.results.figure.{report.figure}")
    symbols = {key(c): marks[row.key] for row in report.rows if marks.get(row.key) for c in done if matches(c, row)}
    with marked(symbols):
        return module.draw(ordered, folder / f"{report.figure}.png", **report.figure_options)
