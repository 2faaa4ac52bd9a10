"""During and after a grid: which cells failed or were skipped, and the table that they belong to."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback

SKIPPED = "skipped"  # what a job returns whose cell the data set cannot build


class PrintTable(Callback):
    """Prints the published table (and draws the figure) when a multirun of a preset with `paper_table` ends, also when some of its jobs failed.

    The results are on disk before it starts: whatever goes wrong here is said in one line and changes nothing.
    """

    unfinished: ClassVar[Any] = None  # config of a grid that started and whose table was not printed: Hydra says nothing when a job failed
    built: ClassVar[int] = 0
    skipped: ClassVar[int] = 0

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        PrintTable.unfinished, PrintTable.built, PrintTable.skipped = config, 0, 0

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        from hydra.core.utils import JobStatus

        if PrintTable.unfinished is None:
            return
        if job_return.status == JobStatus.FAILED:
            error = job_return._return_value  # its property raises
            print(f"failed: {' '.join(job_return.overrides)}: {type(error).__name__}: {error}", file=sys.stderr)
        if job_return.status == JobStatus.COMPLETED and job_return.return_value == SKIPPED:
            PrintTable.skipped += 1
        else:
            PrintTable.built += 1

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        PrintTable.unfinished = None
        if config.dry_run:
            return
        try:
            from omegaconf import OmegaConf

            presets, rest = split(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))  # column=${dataset.label} is each job's own
            for preset in presets:
                if is_table(preset):
                    from pomelo_lab.results.show import show

                    show(preset, [*search_path(config.hydra), *rest])
        except Exception as error:
            name = type(error).__name__
            print(f"(no table: {name}: {error}; python scripts/table.py <id> prints it)", file=sys.stderr)
            if kwargs.get("debug"):
                traceback.print_exc()


def after_failure() -> None:
    """The table of a grid that Hydra ended because a job failed; nothing for single jobs and for grids that ended."""
    if PrintTable.unfinished is not None:
        PrintTable().on_multirun_end(PrintTable.unfinished)


def nothing_built() -> bool:
    """Whether a grid ended without a cell that its data set can build."""
    return PrintTable.skipped > 0 and PrintTable.built == 0


def search_path(hydra: Any) -> list[str]:
    """The override that finds the config folders of a command again (`--config-dir`, hydra.searchpath); nothing where it had none."""
    sources = (hydra.get("runtime") or {}).get("config_sources") or ()
    own = [s for s in sources if s.provider not in ("hydra", "main", "schema")]
    return [f"hydra.searchpath=[{','.join(f'{s.schema}://{s.path}' for s in own)}]"] if own else []


def split(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The presets that a command line asked for, and its other overrides."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob

    from pomelo_lab.config.entry import CONF

    presets, rest = [], []
    for text, one in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        if one.key_or_group != "experiment":
            rest.append(text)
        elif isinstance(one.value(), Glob):
            presets += one.value().filter(sorted(p.stem for p in Path(CONF, "experiment").glob("*.yaml")))
        else:
            presets += list(one.sweep_string_iterator()) if one.is_sweep_override() else [one.get_value_element_as_str()]
    return presets, rest


def is_table(preset: str) -> bool:
    """Whether a preset names a published table."""
    from pomelo_lab.results.published import everything

    return preset in everything()
