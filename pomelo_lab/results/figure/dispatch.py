"""Draws the figure of a table: `figure: projection` names the module `pomelo_lab.results.figure.projection`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pomelo_lab.results.table import Table


def draw_figure(table: Table, folder: Path, figure: str | None = None) -> Path | None:
    """Draws a figure of a table's finished cells, in the order of its rows.

    Args: figure: a module with `draw(cells, path)`; None for the report's figure.
    Returns: the PNG file (a PDF file has the same name), or None when no cell is finished.
    """
    from pomelo_lab.results.figure.style import styled

    report = table.report
    name = figure or report.figure
    drawn = {id(cell): (cell, row) for row in reversed(table.rows) for cell in table.finished[row.key]}
    rows = [drawn[id(cell)] for row in table.rows for cell in table.finished[row.key] if drawn[id(cell)][1] is row]
    if not rows or not name:
        return None
    module = load_figure(name)
    options: Mapping[str, Any] = report.figure_options if name == report.figure else {}
    with styled(rows, {row.key: table.symbols(row) for row in table.rows}):
        return module.draw([cell for cell, _ in rows], folder / f"{name.rpartition('.')[2]}.png", **options)


def load_figure(name: str) -> ModuleType:
    """Imports the module of a figure: a file of this folder by its name, any other module by its dotted path.

    Raises: ValueError for a module that does not exist or has no `draw`.
    """
    from pomelo_lab.config.signature import did_you_mean

    path = name if "." in name else f"{__package__}.{name}"
    files = sorted(file.stem for file in Path(__file__).parent.glob("*.py"))
    known = [name for name in files if name not in ("__init__", "dispatch", "style")]
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not f"{path}.".startswith(f"{error.name}."):  # a missing import inside the module
            raise
        raise ValueError(
            f"no figure {name}{did_you_mean(name, known)}; there are: {', '.join(known)}; a module of yours: its "
            f"dotted path"
        ) from error
    if not hasattr(module, "draw"):
        raise ValueError(f"figure {name}: {path} has no function draw(cells, path)")
    return module
