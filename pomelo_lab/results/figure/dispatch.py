"""Draws the figure of a table: `figure: projection` names the module `pomelo_lab.results.figure.projection`."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pomelo_lab.results import drawn as drawn_before
from pomelo_lab.results.table import Table


def draw_figure(table: Table, folder: Path, figure: str | None = None) -> Path | None:
    """Draws a figure of a table's finished cells, in the order of its rows, unless the same figure was drawn before.

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
    options: Mapping[str, Any] = report.figure_options if name == report.figure else {}
    symbols, path = {row.key: table.symbols(row) for row in table.rows}, folder / f"{name.rpartition('.')[2]}.png"
    question = drawn_before.ask(name, options, rows, symbols, path)
    if drawn_before.is_drawn(question):
        return path
    module = load_figure(name)
    with styled(rows, symbols):
        path = module.draw([cell for cell, _ in rows], path, **options)
    drawn_before.note(question, path)
    return path


def list_options(name: str) -> list[str]:
    """The options of a figure: the arguments of its `draw` after cells and path. A module of this folder is read
    and not imported, because its import takes longer than a table.

    Raises: ValueError for a module that does not exist or has no `draw`.
    """
    file = Path(__file__).with_name(f"{name}.py")
    if "." not in name and file.is_file():
        functions = (node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef))
        for function in functions:
            if function.name == "draw":
                given = function.args
                return [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)][2:]
    return list(inspect.signature(load_figure(name).draw).parameters)[2:]


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
