"""Explain a classifier and score the explanations: one job, or a grid with `-m`.

`python -m pomelo_lab.run --help` lists the keys, `experiment=<paper>_<table>` reproduces a table, `dry_run=true` plans.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from pomelo_lab.allocator import keep_pages
from pomelo_lab.config.check import ConfigError, NotForThisData, resolved, validate_resolved
from pomelo_lab.config.command import command
from pomelo_lab.config.entry import CONF
from pomelo_lab.config.preset_data import Asked, keys
from pomelo_lab.config.schema import register
from pomelo_lab.engine import finished
from pomelo_lab.engine.score_files import SHOWN
from pomelo_lab.results.callback import (
    SKIPPED,
    AllFinished,
    PrintTable,
    after_failure,
    exit_status,
    job_failed,
    one_preset_each,
    search_path,
    split_command_line,
)

if TYPE_CHECKING:
    from pomelo_lab.api import Result

register()
_removed: set[tuple[str, str]] = set()  # artefacts that this command has removed (force=true)


@hydra.main(version_base="1.3", config_path=CONF, config_name="run")
def main(cfg: DictConfig) -> str | None:
    """The Hydra entry point of one job.

    Returns SKIPPED for a cell that the data set cannot build, FAILED for one of a grid that raised.
    """
    from hydra.core.hydra_config import HydraConfig

    try:
        return one_job(cfg)
    except Exception as error:  # noqa: BLE001 (a single job raises it again)
        return job_failed(list(HydraConfig.get().overrides.task), error)


def one_job(cfg: DictConfig) -> str | None:
    """Check and run one composed config."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from pomelo_lab.results.job_report import print_finished, say_left_out

    keep_pages()  # here, because a launcher starts jobs in processes of its own
    hydra_config = HydraConfig.get()
    in_grid = hydra_config.mode == RunMode.MULTIRUN
    choices = {role: name for role, name in hydra_config.runtime.choices.items() if "/" not in role and "@" not in role}
    asked, plain = read_request(hydra_config, in_grid), resolved(cfg)
    question = finished.ask(plain, asked)
    if (known := finished.find(question)) is not None:
        say_one_of_grid(choices, in_grid)
        print_finished(known.config, known.folder, in_grid)
        return None
    try:
        config = validate_resolved(plain, asked)
    # a job of a grid that this data set cannot build is skipped; by itself it is an error
    except NotForThisData as error:
        if not in_grid:
            raise
        print(f"skipped: {cell_name(error.lacking, choices)}: {error.reason}", file=sys.stderr)
        return SKIPPED
    say_left_out(config)
    # a preset is a table: its plan is that of all jobs
    if config["dry_run"] and choices.get("experiment") and not in_grid:
        from pomelo_lab.results.grid import cells
        from pomelo_lab.results.grid_plan import print_grid_plan

        presets, rest = split_command_line(list(hydra_config.overrides.task))
        planned = cells(presets[0], [*search_path(hydra_config), *rest], strict=False)
        if len(planned) > 1:
            print_grid_plan(planned)
            return None
    say_one_of_grid(choices, in_grid)
    try:
        run({**config, "choices": choices, "search_path": search_path(hydra_config)}, in_grid, _removed, question)
    # a user can correct it: the message without the stack (HYDRA_FULL_ERROR=1 shows that)
    except (ValueError, OSError) as error:
        raise ConfigError(f"{error}") from error
    return None


def say_one_of_grid(choices: Mapping[str, str], in_grid: bool) -> None:
    """Tells how to run all jobs of a preset that was named without `-m`."""
    if choices.get("experiment") and not in_grid:
        name = choices["experiment"]
        print(f"{name} is a grid, and this is one job of it: -m experiment={name} runs all", file=sys.stderr)


def read_request(hydra_config: Any, in_grid: bool) -> Asked:
    """What was typed beside the preset.

    In a grid, typed keys that the preset varies were checked before the first job.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from pomelo_lab.results.points import axes

    typed = keys(OverridesParser.create().parse_overrides(list(hydra_config.overrides.task)))
    return Asked(
        bool(hydra_config.runtime.choices.get("experiment")),
        typed,
        axes(hydra_config.sweeper.params) if in_grid else {},
    )


def cell_name(lacking: Mapping[str, str], choices: Mapping[str, str]) -> str:
    """The method of a table's row, or the components that cannot be built: "sampler=ideal"."""
    roles = (
        ["method"]
        if choices.get("method")
        else [role for role in choices if any(owner.partition(".")[0] == role for owner in lacking)]
    )
    return " ".join(f"{role}={choices[role]}" for role in roles)


def run(
    config: dict[str, Any],
    brief: bool = False,
    removed: set[tuple[str, str]] | None = None,
    question: Mapping[str, Any] | None = None,
) -> Path | None:
    """Run one checked job, from its config to its score folder; also for use without Hydra.

    Args:
        brief: print no table of scores; a grid prints one at its end.
        removed: artefacts (kind, fingerprint) that earlier jobs of a grid have removed and computed again, for
            `force=true`: jobs share them.
        question: what the memory of finished jobs is asked for this job (see `engine/finished.py`). None = the job is
            not remembered.
    Returns: the score folder, or None for a dry run.
    """
    from pomelo_lab import tracking
    from pomelo_lab.config.outputs import unwritable
    from pomelo_lab.devices import launch, pick_device
    from pomelo_lab.engine.inventory import remove
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.plan import drop_missing_weights
    from pomelo_lab.engine.preflight import check, check_images
    from pomelo_lab.engine.scores import Scores, work
    from pomelo_lab.engine.store import Store
    from pomelo_lab.results.grid_plan import print_plan
    from pomelo_lab.results.job_report import ALREADY_DONE, print_report
    from pomelo_lab.results.sheet import FILE, drop_damaged, write_sheet

    store = Store(config["paths"]["outputs"])
    # 1. a dry run ends here
    if config["dry_run"]:
        return print_plan(config, store)
    # 2. components and fingerprints: networks without weights are trained, after the job was checked with untrained
    # ones
    device = pick_device(config["device"])
    check(Job(drop_missing_weights(config, config["dataset"], config["paths"]["outputs"], []), store, device).parts)
    weights = None if question is None else finished.read_weights(config)
    job = Job(config, store, device)
    scores = Scores(job)
    problem = unwritable(config["paths"]["outputs"])
    with nullcontext() if problem else store.lock(scores.folder / ".lock"):
        # 3. finished work is skipped, also in a folder that cannot be written
        if not config["force"] and scores.is_done():
            sheet = config.get("sheet", SHOWN)
            if not problem:
                drop_damaged(scores.folder)
                if sheet != SHOWN or not (scores.folder / FILE).exists():  # another number of images: another picture
                    write_sheet(job, scores.folder, sheet)
            print(ALREADY_DONE)
            finished.note(question, job, scores.folder, weights)
            print_report(scores.folder, brief)
            return scores.folder
        if problem:
            raise ValueError(
                f"paths.outputs={config['paths']['outputs']} cannot be written: {problem}; choose another "
                f"folder, or free some space"
            )
        check_images(job)
        if config["force"]:
            remove(job, set() if removed is None else removed)
        with scores.record_state(), tracking.session(config, scores) as tracker:
            # 4. perturb, explain and score, group by group, on one device or several
            launch(config, work)
            # 5. gather: rows, set statistics, summary; then pictures and tracking
            summaries = scores.gather()
            write_sheet(job, scores.folder, config.get("sheet", SHOWN))
            tracker.log(scores, summaries)
        finished.note(question, job, scores.folder, weights)
    print_report(scores.folder, brief)
    return scores.folder


def cli() -> None:
    """The installed command `pomelo-lab`."""
    from hydra.core.global_hydra import GlobalHydra

    problems = []
    for arguments in one_preset_each(sys.argv[1:]):
        sys.argv[1:] = arguments
        GlobalHydra.instance().clear()  # of the preset before
        try:
            command(main, kept=describe_stored)
        except AllFinished:
            pass
        except (SystemExit, Exception):  # a job of a grid failed in another process: the others are done
            after_failure()
            track_tables()
            if text := exit_status():
                print(text, file=sys.stderr)
            raise
        track_tables()
        problems.append(exit_status())
    sys.exit("\n".join(filter(None, problems)) or None)


def track_tables() -> None:
    """Track the tables of grids that ended, beside their jobs."""
    from pomelo_lab import tracking

    while PrintTable.tables:
        tracking.log_table(*PrintTable.tables.pop(0))


def describe_stored() -> str:
    """What an interrupted command leaves on disk, in words."""
    from pomelo_lab.engine.progress import Progress

    grid, PrintTable.grid = PrintTable.grid, None
    jobs = f", with {grid.built} finished jobs of the grid's {len(grid.cells)}" if grid and grid.built else ""
    return (Progress.last.describe_stored() if Progress.last else "nothing was computed yet") + jobs


class CalledModule(ModuleType):
    """This module, which notebooks call: `pl.run("explainer=rise", "n_images=8")`."""

    def __call__(self, *overrides: str, config_dir: str | None = None) -> Result:
        """Runs the job that `pomelo-lab run` runs for the same words, or finds it finished."""
        from pomelo_lab.api import Result, configured

        config = configured(*overrides, config_dir=config_dir)
        folder = run(config)
        if folder is None:
            raise ValueError("dry_run=true computes nothing: pl.run needs a job that runs")
        return Result(folder, config)


if __name__ == "__main__":
    sys.exit(cli())
sys.modules[__name__].__class__ = CalledModule
