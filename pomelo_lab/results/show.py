"""From stored scores to a table on the screen, its files and its figure."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.results import render
from pomelo_lab.results.figure.dispatch import draw_figure
from pomelo_lab.results.grid import GridCell, cells, questions
from pomelo_lab.results.marks import METHODS
from pomelo_lab.results.matched import MatchedCell, matched
from pomelo_lab.results.report import load_report
from pomelo_lab.results.table import build, matches

LONGEST = 80  # letters of a folder's name before a digest stands for the rest


def show(
    table: str,
    overrides: Sequence[str] = (),
    figures: bool = True,
    console: Any = None,
    common: bool = False,
    grid: Sequence[GridCell] = (),
) -> Path | None:
    """Print a table with its verdicts, and write it (and its figure) below paths.outputs.

    Args: grid: its cells, where they are composed already. common: score counterfactuals on the images that all methods
        reached.
    Returns: the folder of the written table; None when no cell is done (then it says what is, and the command).
    """
    from rich.console import Console

    console = console or Console(width=None if sys.stdout.isatty() else 160)
    one = load_report(table)
    grid_cells = list(grid) or cells(table, overrides)
    if common:
        methods = [c for c in grid_cells if any(matches(c, row) for row in one.rows if row.group in METHODS)]
        grid_cells = matched(grid_cells, methods)
        one = replace(one, figure=None, notes=(*one.notes, *narrowed(grid_cells)))
    made = build(one, grid_cells, overrides)
    if not made.states.get("done") and not made.complete:
        render.nothing_done(
            made, other_scales(table, overrides, Path(grid_cells[0].config["paths"]["outputs"])), console
        )
        return None
    render.terminal(made, console)
    outputs = Path(grid_cells[0].config["paths"]["outputs"])
    folder = outputs / "tables" / table / (folder_name(made.scale, overrides) + (",matched" if common else ""))
    render.write(made, folder)
    console.print(
        f"table:  {folder}/table.md, .csv, .tex; verdicts: claims.json", soft_wrap=True, highlight=False, markup=False
    )
    if one.figure and figures and made.states.get("done"):
        symbols = {row.key: made.symbols(row) for row in made.rows}
        path = draw_figure(one, grid_cells, outputs / "figures" / table / folder_name(made.scale, overrides), symbols)
        console.print(f"figure: {path}, .pdf", soft_wrap=True, highlight=False)
    return folder


def folder_name(scale: str, overrides: Sequence[str]) -> str:
    """The scale, and what else differs from the preset, without paths: a short digest stands for what the name leaves
    out.

    Results of other questions are never overwritten.
    """
    rest = sorted(questions(overrides))
    exact = ",".join([scale, *rest])
    name = ",".join([scale, *(re.sub(r"[^\w.=,-]+", "_", o) for o in rest if "/" not in o and "\\" not in o)])
    return name if name == exact and len(name) <= LONGEST else f"{name[:LONGEST]},{digest(exact)[:8]}"


def narrowed(grid_cells: Sequence[GridCell]) -> list[str]:
    """How many images were left, in words."""
    sizes = sorted({len(c.common) for c in grid_cells if isinstance(c, MatchedCell)})
    return (
        [
            f"matched: scores of counterfactuals count the images that all methods reached "
            f"({' or '.join(map(str, sizes))})"
        ]
        if sizes
        else []
    )


def stored_scales(outputs: Path) -> set[str]:
    """The scales of all stored jobs: composing a grid takes seconds, and most scales have nothing."""
    texts = (path.read_text() for path in outputs.glob("score/*/config.yaml"))
    return {
        match[1] for text in texts if (match := re.search(r"^scale:\n(?:  .*\n)*?  name: (\w+)$", text, re.MULTILINE))
    }


def other_scales(table: str, overrides: Sequence[str], outputs: Path) -> list[tuple[str, int, int]]:
    """(scale, jobs done, jobs) of the other scales where something is done."""
    out = []
    for scale in sorted(stored_scales(outputs)):
        grid_cells = [
            c
            for c in cells(table, [*(o for o in overrides if not o.startswith("scale=")), f"scale={scale}"])
            if not c.lacks
        ]
        if done := sum(c.state == "done" for c in grid_cells):
            out.append((scale, done, len(grid_cells)))
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """`python scripts/table.py <id> [--matched] [--config-dir DIR] [overrides]`."""
    from hydra.errors import HydraException

    from pomelo_lab.config.entry import config_folders, search_path
    from pomelo_lab.results.report import load_reports

    folders, arguments = config_folders(sys.argv[1:] if arguments is None else arguments)
    common = "--matched" in arguments
    arguments = [a for a in arguments if a != "--matched"]
    if not arguments or any(a.startswith("-") for a in arguments) or "=" in arguments[0]:
        print(
            "usage: python scripts/table.py <id> [--matched] [--config-dir DIR] [overrides, e.g. scale=quick "
            "paths.outputs=DIR]",
            file=sys.stderr,
        )
        for one in load_reports().values():
            print(f"  {one.id:16} {one.title} ({one.source})", file=sys.stderr)
        return 2
    try:
        show(arguments[0], [*search_path(folders), *arguments[1:]], common=common)
        return 0  # also where cells are missing: it has said which, and the command
    except (KeyError, HydraException) as error:
        print(error.args[0] if error.args else error, file=sys.stderr)
        if "Could not find" in str(error) and not folders:
            print("components of your own: --config-dir DIR, as for the run", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
