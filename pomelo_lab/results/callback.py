"""The Hydra callback of a grid: it runs when a grid starts, when a job ends and when the grid ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.experimental.callback import Callback

if TYPE_CHECKING:
    from pomelo_lab.results.grid_run import Grid

SKIPPED = "skipped"  # return value of a job that was skipped because the data set cannot build its cell
# return value of a failed job of a grid in this process: with an exception Hydra would report the first error only
FAILED = "failed"
GROUP = "POMELO_LAB_GRID"  # environment variable that passes the tracking group to the jobs of a grid


class AllFinished(SystemExit):
    """Raised at the start of a grid whose jobs are all finished, when its table is printed: nothing has to start."""


class PrintTable(Callback):
    """Checks every cell of a grid before its first job, and prints the table and the failures when the grid ends.

    The table is also printed when some jobs failed. The results are on disk before the table is built, so an error in
    the table is reported in one line, loses nothing and makes the exit status nonzero.
    """

    grid: ClassVar[Grid | None] = None  # the running grid that the jobs of this process belong to
    ended: ClassVar[Grid | None] = None
    config: ClassVar[Any] = None
    # tables written by this process: config, name, folder, figures
    tables: ClassVar[list[tuple[Any, str, Path, list[Path]]]] = []

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        from omegaconf import OmegaConf

        from pomelo_lab.results.grid import refusals
        from pomelo_lab.results.grid_run import Grid, group_name, show_finished

        # resolve=False, because a value such as ${dataset.label} differs between jobs
        presets, rest = split_command_line(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
        grid = Grid(presets, rest, search_path(config.hydra))
        PrintTable.grid, PrintTable.ended, PrintTable.config = grid, None, config
        try:
            grid.compose()
        except Exception:  # noqa: BLE001 (an override that Hydra refuses: it says so itself in a moment)
            return
        if text := broken_report(grid):
            print(text, file=sys.stderr, flush=True)
            PrintTable.grid = None
            sys.exit(1)
        os.environ[GROUP] = group_name(grid)
        if refused := grid.refused_cells:
            print(
                "\n".join(refusals(refused, len(grid.cells), sum(bool(cell.lacks) for cell in grid.cells))),
                file=sys.stderr,
                flush=True,
            )
            if len(refused) == len(grid.cells):
                PrintTable.grid = None
                sys.exit(1)
        if uses_basic_sweeper(config.hydra) and show_finished(grid):
            self.on_multirun_end(config, **kwargs)
            raise AllFinished

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        from hydra.core.utils import JobStatus

        grid = PrintTable.grid
        if grid is None:
            return
        if job_return.status == JobStatus.FAILED:
            error = job_return._return_value  # the property return_value would raise the error
            note_failure(grid, job_return.overrides, error)
        elif job_return.return_value == SKIPPED:
            grid.skipped += 1
        elif job_return.return_value != FAILED:
            grid.built += 1
        # a grid that was only planned or skipped has not imported the components
        if (components := sys.modules.get("pomelo_lab.engine.components")) is not None:
            components.release(
                [c.config for c in grid.cells[grid.built + grid.skipped + len(grid.failed) :] if not c.error]
            )

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        from pomelo_lab.results.grid_run import group_name, note_states

        grid, PrintTable.grid = PrintTable.grid, None
        PrintTable.ended = grid
        os.environ.pop(GROUP, None)
        if grid is None or not grid.parts:
            return
        if grid.skipped and not grid.built and not grid.failed:
            print("no cell of this grid can be built on this data set", file=sys.stderr)
        if config.dry_run:
            from pomelo_lab.results.grid_plan import print_grid_plan

            print_grid_plan(grid.cells)
            return
        try:
            if not grid.built + grid.skipped + len(grid.failed):  # no job reported to this process: they ran in others
                note_states(grid)
            for preset, part in zip(grid.presets or [""], grid.parts, strict=True):
                show_part(preset, part, [*grid.search_path, *grid.rest], group_name(grid))
        except Exception as error:
            name = type(error).__name__
            grid.no_table = f"(no table: {name}: {error})"
            if kwargs.get("debug"):
                traceback.print_exc()


def show_part(preset: str, part: list[Any], overrides: list[str], group: str) -> None:
    """Shows the paper's table of a preset if it has one, else a plain table.

    Args: group: the tracking group of the grid's jobs.
    """
    if is_table(preset, overrides):
        from pomelo_lab.results.show import show

        folder = show(preset, overrides, grid=part)
    else:
        from pomelo_lab.results.grid_run import show_grid

        folder = show_grid(part, preset, [o for o in overrides if not o.startswith("hydra.searchpath=")])
    if folder is not None:
        figures = sorted((folder.parents[2] / "figures" / preset / folder.name).glob("*.png")) if preset else []
        PrintTable.tables.append((part[0].config, preset or folder.parent.name, folder, figures, preset or group))


def broken_report(grid: Grid) -> str:
    """The error of the reports that the end of a grid reads, known before its first job. Empty when there is none."""
    from pomelo_lab.config.entry import searched_folders
    from pomelo_lab.results.report import load_reports
    from pomelo_lab.results.report_names import check_names

    folders = searched_folders(grid.search_path)
    try:
        reports = load_reports(folders)
        for preset, part in zip(grid.presets, grid.parts, strict=False):  # a grid without presets has one part
            if preset in reports:
                check_names(reports[preset], part, folders)
    except ValueError as error:
        return str(error)
    return ""


def job_failed(overrides: list[str], error: Exception) -> str:
    """Records that a job of this process's grid raised, so that the grid goes on with the next job.

    Raises the error again when no grid runs in this process.
    """
    grid = PrintTable.grid
    if grid is None or "HYDRA_FULL_ERROR" in os.environ:
        raise error
    note_failure(grid, overrides, error)
    return FAILED


def note_failure(grid: Grid, overrides: list[str], error: Exception) -> None:
    """Records a failed job, and prints at once which job failed and why. Errors without a message for users are
    printed with their stack."""
    from pomelo_lab.config.check import ConfigError
    from pomelo_lab.results.grid import reason

    name, known = grid.name(overrides), isinstance(error, ConfigError)
    grid.failed[name] = reason(str(error)) if known else f"{type(error).__name__}: {error}"
    if grid.failed[name] in {reason(cell.error) for cell in grid.refused_cells}:
        print(f"refused, as said above: {name}", file=sys.stderr, flush=True)
        return
    print(f"failed: {name}: {grid.failed[name]}", file=sys.stderr, flush=True)
    if not known:
        traceback.print_exception(error)


def after_failure() -> None:
    """Shows the table of a grid that Hydra ended because a job failed in another process. Nothing is shown for
    single jobs and for grids that ended normally."""
    if PrintTable.grid is not None:
        PrintTable().on_multirun_end(PrintTable.config)


def exit_status() -> str | int | None:
    """The exit status of a grid: None when no job failed and no table is missing, otherwise a text that names them."""
    grid, PrintTable.ended = PrintTable.ended, None
    if grid is None:
        return None
    from pomelo_lab.results.grid_run import failures

    lines = failures(grid.failed, len(grid.failed) + grid.built + grid.skipped) if grid.failed else ()
    return "\n".join(filter(None, (grid.no_table, *lines))) or None


def uses_basic_sweeper(hydra: Any) -> bool:
    """Whether Hydra starts a job for each point of the grid. Other sweepers choose points."""
    return str((hydra.get("sweeper") or {}).get("_target_", "")).endswith(".BasicSweeper")


def search_path(hydra: Any) -> list[str]:
    """The override that gives a new command the same config folders (`--config-dir`, hydra.searchpath). Empty when
    the command used none."""
    sources = (hydra.get("runtime") or {}).get("config_sources") or ()
    added = [s for s in sources if s.provider not in ("hydra", "main", "schema")]
    return [f"hydra.searchpath=[{','.join(f'{s.schema}://{s.path}' for s in added)}]"] if added else []


def split_command_line(overrides: list[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into the names of its presets and its other overrides."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob

    from pomelo_lab.config.entry import CONF

    presets, rest = [], []
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        if override.key_or_group != "experiment":
            rest.append(text)
        elif isinstance(override.value(), Glob):
            presets += override.value().filter(sorted(p.stem for p in Path(CONF, "experiment").glob("*.yaml")))
        else:
            presets += (
                list(override.sweep_string_iterator())
                if override.is_sweep_override()
                else [override.get_value_element_as_str()]
            )
    return presets, rest


def one_preset_each(arguments: list[str]) -> list[list[str]]:
    """The commands that a command stands for. A preset brings its own grid, so each of several presets is a command.

    A plan (`dry_run=true`) takes several presets at once, because their jobs share work.
    """
    from hydra.errors import HydraException

    named = [text for text in arguments if text.startswith("experiment=")]
    if not {"-m", "--multirun"} & set(arguments) or not named or "dry_run=true" in arguments:
        return [arguments]
    try:
        presets, _ = split_command_line(named)
    except HydraException:  # Hydra says so itself in a moment
        return [arguments]
    rest = [text for text in arguments if text not in named]
    return [[*rest, f"experiment={preset}"] for preset in presets] if len(presets) > 1 else [arguments]


def is_table(preset: str, overrides: Sequence[str] = ()) -> bool:
    """Whether a preset has a report."""
    from pomelo_lab.config.entry import searched_folders
    from pomelo_lab.results.report import load_reports

    return preset in load_reports(searched_folders(overrides))
