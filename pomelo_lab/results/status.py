"""Lists which jobs of a preset are done, running, failed or missing, and the command that continues."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Any

from pomelo_lab.config.suggest import printable
from pomelo_lab.results.grid import GridCell, reason

STYLE = {"done": "green", "running": "cyan", "failed": "red", "damaged": "red", "interrupted": "yellow"}
STYLE |= {"missing": "bright_black", "skipped": "bright_black"}


def state(cell: GridCell) -> str:
    """The recorded state of a job. It is "interrupted" when the job is recorded as running and no process holds the
    folder's lock."""
    if cell.state != "running":
        return printable(str(cell.state))
    from pomelo_lab.locks import is_held

    return "running" if is_held(cell.folder / ".lock") else "interrupted"


def detail(cell: GridCell) -> str:
    """One line about a job: the reason why it failed or is skipped, or its cost."""
    if cell.lacks or cell.error:
        return cell.lacks or reason(cell.error)
    status = cell.status
    if damaged := status.get("damaged"):
        return f"{', '.join(damaged)}: the same command makes it again"
    if error := status.get("error"):
        lines = [line for line in error.strip().splitlines() if line and not line.startswith((" ", "\t"))]
        return printable(lines[-1] if lines else error)
    if cell.state == "done":
        images = (status.get("images") or {}).get("n") or len(cell.scores().get("image_id", ()))
        return f"{images} images, {status.get('seconds', 0):.0f} s, {cell.folder}"
    return ""


def show(experiment: str, overrides: Sequence[str] = (), console: Any = None) -> bool:
    """Prints one line per job. Returns whether all jobs are done that the data set can build."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pomelo_lab.results.grid import cells

    console = console or Console(width=None if sys.stdout.isatty() else 160)
    grid_cells = cells(experiment, overrides)
    states = [state(cell) for cell in grid_cells]
    grid = Table(box=None, padding=(0, 1), show_header=False)
    for cell, now in zip(grid_cells, states, strict=True):
        grid.add_row(Text(now, style=STYLE.get(now, "")), cell.name or experiment, Text(detail(cell), overflow="fold"))
    console.print(grid)
    counts = ", ".join(f"{states.count(s)} {s}" for s in STYLE if s in states)
    console.print(f"{experiment}: {counts}", highlight=False)
    if missing := [c for c, s in zip(grid_cells, states, strict=True) if s not in ("done", "skipped")]:
        command = " ".join(["python -m pomelo_lab.run -m", f"experiment={experiment}", *map(shlex.quote, overrides)])
        console.print(f"continue (finished jobs are skipped): {command}", highlight=False, markup=False, soft_wrap=True)
        single_command = " ".join(
            [
                "python -m pomelo_lab.run",
                f"experiment={experiment}",
                *map(shlex.quote, overrides_of(missing[0], overrides)),
            ]
        )
        console.print(f"one alone:  {single_command}", highlight=False, markup=False, soft_wrap=True)
    return not missing


def overrides_of(cell: GridCell, overrides: Sequence[str]) -> list[str]:
    """The overrides that run one cell as a single job."""
    from pomelo_lab.results.points import no_sweeps

    return [*no_sweeps(overrides), *(f"{key}={value}" for key, value in cell.point.items())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints which jobs of a preset are done, and returns the exit status.

    Args: arguments: the name of the preset, `--config-dir DIR`, and overrides.
    """
    from pathlib import Path

    from hydra.errors import HydraException

    from pomelo_lab.config.entry import CONF, config_folders, rename_row_group, script_command, search_path

    folders, arguments = config_folders(rename_row_group(sys.argv[1:] if arguments is None else arguments))
    if not arguments or any(a.startswith("-") for a in arguments) or "=" in arguments[0]:
        names = sorted(p.stem for p in Path(CONF, "experiment").glob("*.yaml"))
        print(
            f"usage: {script_command('status')} <experiment> [--config-dir DIR] [overrides]\n"
            f"experiments: {', '.join(names)}",
            file=sys.stderr,
        )
        return 0 if {"-h", "--help"} & set(arguments) else 2
    try:
        show(arguments[0], [*search_path(folders), *arguments[1:]])
        return 0  # 0 also when cells are missing: the output names them and the command
    except HydraException as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
