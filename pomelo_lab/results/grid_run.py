"""The jobs of one command: checks their cells before the first job, counts failures, and prints the table after the
last."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pomelo_lab.results.grid import GridCell, cells, questions, reason


@dataclass
class Grid:
    """The jobs of one command.

    presets: the experiments that the command names.
    rest: its other overrides.
    parts: the cells of each preset, or of the whole grid when it names none.
    failed: name of each failed job -> its message.
    no_table: why the table could not be built; "" if it could.
    built, skipped: number of jobs that succeeded, and of jobs that the data set cannot build.
    """

    presets: list[str]
    rest: list[str]
    search_path: list[str] = field(default_factory=list)
    parts: list[list[GridCell]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    no_table: str = ""
    built: int = 0
    skipped: int = 0

    def compose(self) -> None:
        """Composes and checks the config of every cell as Hydra will, so that errors are known before the first job
        starts."""
        self.parts = [cells(preset, [*self.search_path, *self.rest], strict=False) for preset in self.presets or [""]]

    @property
    def cells(self) -> list[GridCell]:
        return [cell for part in self.parts for cell in part]

    @property
    def refused_cells(self) -> list[GridCell]:
        return [cell for cell in self.cells if cell.error]

    def name(self, overrides: Sequence[str]) -> str:
        """The name of a job: the overrides that vary in the grid, as in "sampler=gray seed=0"."""
        keys = {key for cell in self.cells for key in cell.point} | ({"experiment"} if len(self.presets) > 1 else set())
        return " ".join(text for text in overrides if text.partition("=")[0] in keys) or "the job"


def failures(failed: dict[str, str], total: int) -> Iterator[str]:
    """Lines with the number of failed jobs and the message of each."""
    yield f"{len(failed)} of {total} failed:"
    yield from (f"  {name}: {reason(message)}" for name, message in failed.items())


def show_finished(grid: Grid) -> bool:
    """Prints the results of all jobs, when the memory of finished jobs knows each of them. Returns whether it does.

    Nothing is printed otherwise. Jobs that the data set cannot build are skipped.
    """
    from pomelo_lab.results.job_report import print_finished

    folders = []
    for cell in grid.cells:
        folder = None if cell.lacks else cell.find_finished()
        if folder is None and not cell.lacks:
            return False
        folders.append(folder)
    for cell, folder in zip(grid.cells, folders, strict=True):
        if folder is None:
            print(f"skipped: {cell.name}: {cell.lacks}", file=sys.stderr)
            grid.skipped += 1
            continue
        print(cell.name)
        print_finished(cell.config, folder, brief=True)
        grid.built += 1
    return bool(folders)


def note_states(grid: Grid) -> None:
    """Counts the jobs of other processes by their state on disk."""
    from pomelo_lab.results.status import detail, state

    for cell in grid.cells:
        if (now := state(cell)) == "done":
            grid.built += 1
        elif now == "skipped":
            grid.skipped += 1
        else:
            grid.failed[cell.name or "the job"] = detail(cell) or now


def show_grid(part: Sequence[GridCell], preset: str, overrides: Sequence[str], console: Any = None) -> Path | None:
    """Prints the scores of a grid's finished jobs as a table, and writes it below outputs/tables.

    The table has a row for each point of the grid, averaged over its seeds, and a column for each metric.

    Returns: the folder; None when no job is finished.
    """
    from rich.console import Console

    from pomelo_lab.results import render, table_files
    from pomelo_lab.results.show import folder_name
    from pomelo_lab.results.table import build

    console = console or Console(width=None if sys.stdout.isatty() else 160)
    table = build(plain_table(part, preset), part, overrides)
    if not table.states.get("done"):
        return None
    if not table.columns:
        console.print(
            f"{render.describe_jobs(table)}; no scores: metrics=none", highlight=False, markup=False, soft_wrap=True
        )
        return None
    render.terminal(table, console)
    scale = table.scale or "grid"
    folder = (
        Path(part[0].config["paths"]["outputs"]) / "tables" / (preset or axes(part)) / folder_name(scale, overrides)
    )
    table_files.write(table, folder)
    console.print(f"table:  {folder}/table.md, .csv, .tex", soft_wrap=True, highlight=False, markup=False)
    return folder


def plain_table(part: Sequence[GridCell], preset: str) -> Any:
    """The table of a grid without a paper's table: its columns are the metrics that the jobs scored."""
    from pomelo_lab.results.report import Column, Report

    summaries = [cell.summary for cell in part]
    names = dict.fromkeys(name for summary in summaries for name in summary)
    columns = [
        Column(metric=name, symbol=name, digits=digits([s[name]["mean"] for s in summaries if name in s]))
        for name in names
    ]
    varies = [key for key in find_varying_keys(part) if key != "seed"]
    return Report(
        id=preset or " x ".join(find_varying_keys(part)) or "one job",
        title="",
        source="",
        columns=tuple(columns),
        spread="seeds",
        preset=bool(preset),
        head=", ".join(varies) or "method",
    )


def axes(part: Sequence[GridCell]) -> str:
    """Joins the varying keys into a file name: "sampler_seed"."""
    return re.sub(r"[^\w.-]+", "-", "_".join(find_varying_keys(part)))[:60] or "grid"


def find_varying_keys(part: Sequence[GridCell]) -> list[str]:
    """The last parts of the varying keys: "n_samples" for explainer.n_samples."""
    return list(dict.fromkeys(key.lstrip("+").rpartition(".")[2] for cell in part for key in cell.point))


def digits(means: Sequence[float | None]) -> int:
    """The number of decimals that shows three digits of the largest mean."""
    from pomelo_lab.results.job_report import exponent

    largest = max((abs(mean) for mean in means if mean is not None), default=0.0)
    return min(6, max(0, 2 - exponent(largest)))


def group_name(grid: Grid) -> str:
    """The tracking group of a grid's jobs. It stays the same when the grid is continued."""
    from pomelo_lab.config.fingerprint import digest

    if grid.presets:
        return ",".join(grid.presets)[:100]
    asked = sorted({*questions(grid.rest), *(o for o in grid.rest if o.startswith("scale="))})
    return f"{axes(grid.cells)}-{digest({'grid': asked})[:6]}"
