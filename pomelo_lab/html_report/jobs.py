"""The jobs and the table of a page: those of a paper's table, or of score folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pomelo_lab.config.entry import searched_folders
from pomelo_lab.config.roles import ROLES
from pomelo_lab.engine.score_files import read_status
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.grid_run import plain_table
from pomelo_lab.results.render import describe_jobs
from pomelo_lab.results.report import load_report
from pomelo_lab.results.report_names import check_names
from pomelo_lab.results.show import refuse_preset_without_report, runnable
from pomelo_lab.results.table import Table, build
from pomelo_lab.results.yours import default_name, differences

GROUPS = ("method", "explainer", "sampler", "generator", "segmenter", "classifier", "dataset")  # that name a job


@dataclass(frozen=True)
class Shown:
    """A finished job on the page, and its name there: its row of the table, with the swept values where a row has
    several jobs."""

    name: str
    cell: GridCell

    @property
    def folder(self) -> Path:
        return Path(self.cell.folder)


def paper_table(table: str, overrides: Sequence[str] = ()) -> Table:
    """A paper's table with its verdicts, from stored scores.

    Raises: KeyError for a table that does not exist. ValueError when none of its jobs is finished; the message has the
        command that runs them.
    """
    folders = searched_folders(overrides)
    refuse_preset_without_report(table, folders)
    report = load_report(table, folders)
    cells = runnable(table, overrides)
    check_names(report, cells, folders)
    made = build(report, cells, overrides)
    if not made.states.get("done"):
        raise ValueError(f"{table}: {describe_jobs(made)}")
    return made


def folders_table(folders: Sequence[Path]) -> tuple[Table, list[str]]:
    """A table with a row for each score folder and a column for each metric that a job scored.

    Returns: the table, and a line for each folder that is left out because its job is not finished.
    Raises: ValueError when no folder has a finished job.
    """
    configs, left_out = {}, []
    for folder in dict.fromkeys(path.resolve() for path in folders):
        state = read_status(folder).get("state", "missing")
        if state == "done":
            configs[folder] = read_config(folder)
        else:
            left_out.append(f"left out, its state is {state}: {folder}")
    if not configs:
        raise ValueError("\n".join(["no folder has a finished job", *left_out]))
    names = job_names(configs)
    cells = [
        GridCell(
            {**(config.get("choices") or {}), "method": names[folder]},
            {"method": names[folder]},
            config,
            fingerprint=folder.name,
        )
        for folder, config in configs.items()
    ]
    report = replace(plain_table(cells, ""), id="report", title="Finished jobs", notes=tuple(notes(cells, names)))
    return build(report, cells), left_out


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a finished job, whose outputs lie where the folder is now."""
    import yaml

    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["paths"]["outputs"] = str(folder.parents[1])
    return config


def job_names(configs: Mapping[Path, Mapping[str, Any]]) -> dict[Path, str]:
    """A name for each job: the choices in which the jobs differ, then the seed, then the fingerprint, until the names
    differ."""
    chosen = {folder: choices(config) for folder, config in configs.items()}
    names = {folder: [] if len(configs) > 1 else [default_name(config)] for folder, config in configs.items()}
    keys = dict.fromkeys((*GROUPS, *(group for job in chosen.values() for group in job)))
    for key in keys:
        values = {folder: str(job.get(key) or "none") for folder, job in chosen.items()}
        if len(set(values.values())) > 1 and len(set(map(tuple, names.values()))) < len(names):
            names = {folder: [*name, values[folder]] for folder, name in names.items()}
    told = {folder: ", ".join(name) or default_name(configs[folder]) for folder, name in names.items()}
    for more in ({f: f"seed={c.get('seed')}" for f, c in configs.items()}, {f: f.name[:6] for f in configs}):
        taken = list(told.values())
        told = {f: f"{name}, {more[f]}" if taken.count(name) > 1 else name for f, name in told.items()}
    return told


def choices(config: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen component of each group. A job that Python started has no choices; the modules of its classes then
    name them."""
    nodes = {group: config.get(group) or {} for group in ROLES}
    modules = {g: node["_target_"].split(".")[-2] for g, node in nodes.items() if "." in node.get("_target_", "")}
    return {key: v for key, v in (config.get("choices") or modules).items() if key not in ("local", "hydra")}


def notes(cells: Sequence[GridCell], names: Mapping[Path, str]) -> list[str]:
    """Notes on jobs that have other images, another classifier or another target than the first."""
    return [
        f"{name} answers another question than {next(iter(names.values()))}: {'; '.join(problems)}"
        for cell, name in zip(cells[1:], list(names.values())[1:], strict=True)
        if (problems := list(differences(cell.config, cells[:1])))
    ]


def shown_jobs(table: Table) -> list[Shown]:
    """The finished jobs of a table, each once, in the order of its rows."""
    jobs: dict[Path, Shown] = {}
    for row in table.rows:
        cells = table.finished.get(row.key, ())
        for cell in cells:
            name = row.plain_label if len(cells) == 1 else f"{row.plain_label}, {cell.name}"
            jobs.setdefault(Path(cell.folder), Shown(name, cell))
    return list(jobs.values())
