"""Turns stored scores into a table on the terminal, its files and its figure."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pomelo_lab.config.describe import did_you_mean
from pomelo_lab.config.entry import CONF, searched_folders
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.not_stored import NotStored
from pomelo_lab.results import render, table_files
from pomelo_lab.results.figure.dispatch import draw_figure, load_figure
from pomelo_lab.results.figure.style import NothingToDrawError
from pomelo_lab.results.grid import GridCell, cells, questions, refusals
from pomelo_lab.results.marks import METHODS
from pomelo_lab.results.matched import MatchedCell, match_images
from pomelo_lab.results.method import matches
from pomelo_lab.results.other_settings import find_other_settings
from pomelo_lab.results.page import write_index, write_page
from pomelo_lab.results.report import load_report, load_reports
from pomelo_lab.results.report_names import check_names
from pomelo_lab.results.table import build
from pomelo_lab.results.yours import own_cells

LONGEST = 80  # largest number of letters in a folder's name; a digest replaces the rest


@dataclass(frozen=True)
class Wanted:
    """What is made of a table beside its usual files.

    figure: a module of `results/figure` or a dotted path, drawn instead of the report's figure. "none" draws none.
    common: score counterfactuals on the images for which all methods reached the goal.
    pages:  a folder of documentation that gets a page of the table. None = no page.
    yours:  score folders that become rows of the group "yours": "FOLDER" or "NAME=FOLDER".
    """

    figure: str | None = None
    common: bool = False
    pages: Path | None = None
    yours: tuple[str, ...] = ()


def show(
    table: str,
    overrides: Sequence[str] = (),
    wanted: Wanted = Wanted(),  # noqa: B008 (frozen)
    console: Any = None,
    grid: Sequence[GridCell] = (),
) -> Path | None:
    """Prints a table with its verdicts, and writes it and its figure below paths.outputs.

    Args: grid: the cells of the grid, if they are already composed.
    Returns: the folder of the written table. None when no cell is finished; the settings of finished jobs and the
        command are then printed.
    Raises: ValueError for a figure that does not exist, before anything is printed.
    """
    from rich.console import Console

    figure, common, path = wanted.figure, wanted.common, None
    if figure and figure != "none":
        load_figure(figure)
    console = console or Console(width=None if sys.stdout.isatty() else 160)
    folders = searched_folders(overrides)
    refuse_preset_without_report(table, folders)
    report = load_report(table, folders)
    grid_cells = list(grid) or runnable(table, overrides)
    check_names(report, grid_cells, folders)
    own = own_cells(wanted.yours, grid_cells, [row.key for row in report.rows])
    grid_cells = [*grid_cells, *own]
    if common:
        methods = [c for c in grid_cells if any(matches(c, row) for row in report.rows if row.group in METHODS)]
        grid_cells = match_images(grid_cells, methods)
        report = replace(report, figure=None, notes=(*report.notes, *note_matched(grid_cells)))
    made = build(report, grid_cells, overrides)
    outputs = Path(grid_cells[0].config["paths"]["outputs"])
    if not made.states.get("done") and not made.complete:
        render.print_other_settings(made, find_other_settings(table, grid_cells[0], outputs), console)
        return None
    render.terminal(made, console)
    name = folder_name(made.scale, overrides)
    name += f",yours-{digest([cell.fingerprint for cell in own])[:6]}" if own else ""
    folder = outputs / "tables" / table / (name + (",matched" if common else ""))
    table_files.write(made, folder)
    console.print(
        f"table:  {folder}/table.md, .csv, .tex; verdicts: claims.json", soft_wrap=True, highlight=False, markup=False
    )
    if figure != "none":
        try:
            path = draw_figure(made, outputs / "figures" / table / name, figure)
        except NotStored as error:
            command = " ".join(filter(None, (made.command, error.options)))
            text = f"no figure: {error.missing}; this makes it: {command}"
            console.print(text, soft_wrap=True, highlight=False, markup=False)
        except NothingToDrawError as error:
            console.print(f"no figure: {error}", soft_wrap=True, highlight=False, markup=False)
        if path:
            console.print(f"figure: {path}, .pdf", soft_wrap=True, highlight=False)
    if wanted.pages is not None:
        console.print(f"page:   {write_page(made, path, wanted.pages)}", soft_wrap=True, highlight=False)
    return folder


def refuse_preset_without_report(name: str, folders: tuple[str, ...]) -> None:
    """Raises ValueError, with the command that prints the scores of its jobs, for a preset that no report belongs
    to."""
    is_preset = any(Path(folder, "experiment", f"{name}.yaml").is_file() for folder in (CONF, *folders))
    if is_preset and name not in load_reports(folders):
        raise ValueError(
            f"{name} is a preset without a published table; python -m pomelo_lab.run -m experiment={name} prints the "
            f"scores of its jobs, and runs only those that are not finished"
        )


def runnable(table: str, overrides: Sequence[str]) -> list[GridCell]:
    """The cells of a grid. As in the run, the refused ones among them are named and leave gaps.

    Raises: ValueError when the config check refuses every cell.
    """
    grid_cells = cells(table, overrides, strict=False)
    if refused := [cell for cell in grid_cells if cell.error]:
        text = "\n".join(refusals(refused, len(grid_cells), sum(bool(cell.lacks) for cell in grid_cells)))
        if len(refused) == len(grid_cells):
            raise ValueError(text)
        print(text, file=sys.stderr)
    return grid_cells


def folder_name(scale: str, overrides: Sequence[str]) -> str:
    """The name of a table's folder: the scale, and all other differences from the preset except paths. A short digest
    replaces what does not fit.

    Tables of different questions therefore never overwrite each other.
    """
    rest = sorted(questions(overrides))
    exact = ",".join([scale, *rest])
    name = ",".join([scale, *(re.sub(r"[^\w.=,-]+", "_", o) for o in rest if "/" not in o and "\\" not in o)])
    return name if name == exact and len(name) <= LONGEST else f"{name[:LONGEST]},{digest(exact)[:8]}"


def note_matched(grid_cells: Sequence[GridCell]) -> list[str]:
    """A note with the number of images that matched scores count; empty when no cell was matched."""
    sizes = sorted({len(c.common) for c in grid_cells if isinstance(c, MatchedCell)})
    return (
        [
            f"matched: scores of counterfactuals count the images that all methods reached "
            f"({' or '.join(map(str, sizes))})"
        ]
        if sizes
        else []
    )


USAGE = (
    f"usage: {render.TABLE_COMMAND} <id> [--figure NAME] [--matched] [--docs] [--yours JOB] [--config-dir DIR] "
    f"[overrides]"
)
FLAGS = ("--figure", "--matched", "--docs", "--yours", "--config-dir", "--help")
HELP = """  --figure NAME     draw this figure of the table's jobs: a module of results/figure, the dotted path of a
                    module of yours with draw(cells, path), or none
  --matched         score counterfactuals on the images that all methods reached
  --docs            also write the table as a page of documentation, docs/results/<id>.md below the current folder;
                    without an id: all tables that have finished jobs, and docs/results/index.md
  --yours JOB       a row for a finished job of yours: its score folder, or NAME=FOLDER; may be repeated
  --config-dir DIR  a folder with components and presets of yours, as for the run
  overrides         as for the run: scale=quick paths.outputs=DIR

tables:"""


def draw(arguments: Sequence[str]) -> int:
    """`figure NAME TABLE [overrides]`: draws a figure of a table's jobs, and returns the exit status."""
    if len(arguments) < 2 or {"-h", "--help"} & set(arguments):
        print("usage: pomelo-lab figure NAME TABLE [overrides]", file=sys.stderr)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    name, table, *rest = arguments
    return main([table, "--figure", name, *rest])


def write_pages(overrides: Sequence[str], wanted: Wanted) -> None:
    """Writes the pages of all tables that have finished jobs, and the list of all pages, and says what it wrote."""
    from io import StringIO

    from hydra.errors import HydraException
    from rich.console import Console

    for table in load_reports(searched_folders(overrides)):
        try:
            made = show(table, overrides, wanted, Console(file=StringIO()))
        except (ValueError, HydraException) as error:
            print(f"{table}: {error}", file=sys.stderr)
            continue
        print(f"{table}: {wanted.pages / table}.md" if made else f"{table}: no finished jobs", file=sys.stderr)
    print(f"pages: {write_index(wanted.pages)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table that the command line asks for, and returns the exit status (see `USAGE`)."""
    from hydra.errors import HydraException

    from pomelo_lab.config.entry import config_folders, rename_row_group, search_path

    folders, arguments = config_folders(sys.argv[1:] if arguments is None else arguments)
    figures, arguments = take_flag("--figure", rename_row_group(arguments))
    yours, arguments = take_flag("--yours", arguments)
    common, pages = "--matched" in arguments, Path("docs/results") if "--docs" in arguments else None
    arguments = [a for a in arguments if a not in ("--matched", "--docs")]
    wanted = Wanted(figures[-1] if figures else None, common, pages, tuple(yours))
    if text := flag_problem(arguments):
        print(text, file=sys.stderr)
        return 2
    if pages is not None and (not arguments or "=" in arguments[0]):
        write_pages([*search_path(folders), *arguments], wanted)
        return 0
    if not arguments or {"-h", "--help"} & set(arguments) or "=" in arguments[0]:
        print(USAGE, HELP, sep="\n", file=sys.stderr)
        try:
            reports = load_reports(tuple(folders))
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        for report in reports.values():
            print(f"  {report.id:16} {report.title} ({report.source})", file=sys.stderr)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    sys.path.append(str(Path.cwd()))  # makes the user's figure modules importable
    try:
        show(arguments[0], [*search_path(folders), *arguments[1:]], wanted)
        return 0  # 0 also when cells are missing: the output names them and the command
    except (KeyError, ValueError, HydraException) as error:
        print(error.args[0] if error.args else error, file=sys.stderr)
        if "Could not find" in str(error) and not folders:
            print("components of your own: --config-dir DIR, as for the run", file=sys.stderr)
        return 2


def flag_problem(arguments: Sequence[str]) -> str:
    """What is wrong with the first flag that is left of a command line. "" when none is left but that of the help."""
    flag = next((a.partition("=")[0] for a in arguments if a.startswith("-") and a not in ("-h", "--help")), "")
    if needed := {"--figure": "the name of a figure", "--yours": "a score folder"}.get(flag):
        return f"{flag} needs {needed}"
    return f"{flag} is unknown{did_you_mean(flag, FLAGS)}; the flags are {', '.join(FLAGS)}" if flag else ""


def take_flag(name: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into the values of a flag (`--figure NAME` or `--figure=NAME`) and its other arguments."""
    values, rest, words = [], [], iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        value = value if equals or flag != name else next(words, "")
        if flag == name and value:
            values.append(value)
        else:
            rest.append(word)
    return values, rest


if __name__ == "__main__":
    sys.exit(main())
