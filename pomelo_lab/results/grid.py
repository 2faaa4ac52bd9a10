"""The cells of a preset: each point of its grid, and the score folder that belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pomelo_lab.config.entry import rename_row_group, searched_folders
from pomelo_lab.config.preset_data import Asked
from pomelo_lab.config.tree import nodes
from pomelo_lab.engine import finished
from pomelo_lab.engine.score_files import read_columns, read_status, read_summary
from pomelo_lab.results.points import Point, compose_points, unescaped


@dataclass(frozen=True)
class GridCell:
    """One job of a grid.

    choices: group -> chosen name ("sampler" -> "black").
    point: the swept overrides of this cell.
    config: the resolved config.
    lacks: why the data set cannot build the cell ("needs Portraits, not CelebA"); "" if it can.
    error: the problems that the config check reports; "" for none.
    folders: the user's config folders.
    question: what the memory of finished jobs is asked for this cell. {} = the cell is not remembered.
    fingerprint: the fingerprint that the memory knows; "" for none.
    """

    choices: dict[str, str]
    point: dict[str, str]
    config: dict[str, Any]
    lacks: str = ""
    error: str = ""
    folders: tuple[str, ...] = ()
    question: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def name(self) -> str:
        """The values of the swept keys of this cell, as typed."""
        return " ".join(f"{key}={value}" for key, value in self.point.items())

    @cached_property
    def job(self) -> Any:
        """The cell's job, for reading only: its artefacts are read and never computed."""
        from pomelo_lab.engine.cache import StoredArtefacts
        from pomelo_lab.engine.job import Job
        from pomelo_lab.engine.store import Store

        return Job(self.config, Store(self.config["paths"]["outputs"]), cache=StoredArtefacts)

    @cached_property
    def folder(self) -> Path | None:
        """The score folder. None when a network has no weights yet; no job can be finished then."""
        outputs = self.config["paths"]["outputs"]
        if self.fingerprint:
            return Path(outputs, "score", self.fingerprint)
        from pomelo_lab.training.trained import has_weights

        networks = (node for _, node in nodes(self.config) if "weights" in node)
        if self.lacks or self.error or not all(has_weights(node, self.config["dataset"], outputs) for node in networks):
            return None
        if self.question:
            weights = finished.read_weights(self.config)
            finished.remember_job(self.question, self.config, self.job.fingerprint, weights)
        return self.job.store.folder("score", self.job.fingerprint)

    def find_finished(self) -> Path | None:
        """The score folder that the memory of finished jobs knows. None when the job has to be looked at."""
        return finished.find_results(self.config, self.fingerprint) if self.fingerprint else None

    @property
    def status(self) -> dict[str, Any]:
        return read_status(self.folder) if self.folder else {}

    @property
    def state(self) -> str:
        """ "done", "running", "failed", "damaged" (a file is not what was written), "missing", or "skipped" where the
        data set cannot build it."""
        return "skipped" if self.lacks else "failed" if self.error else self.status.get("state", "missing")

    @property
    def summary(self) -> dict[str, Any]:
        """Metric -> {mean, std, n, ...} of a finished cell, empty for any other."""
        return read_summary(self.folder) if self.state == "done" else {}

    def scores(self) -> dict[str, list[Any]]:
        """Columns of scores.parquet of a finished cell, empty for any other."""
        return read_columns(self.folder / "scores.parquet") if self.state == "done" else {}


def cells(experiment: str, overrides: Sequence[str] = (), strict: bool = True) -> list[GridCell]:
    """Every job that `python -m pomelo_lab.run -m experiment=<experiment> <overrides>` runs or skips, in the same
    order.

    Args:
        experiment: "" for a grid without a preset.
        strict: False keeps cells that the config check refuses, with its message as their `error`.
    Raises: ConfigError for a preset or override that does not exist.
    """
    overrides = rename_row_group(overrides)
    folders = searched_folders(overrides)
    composed = compose_points(experiment, overrides)
    return [check_point(point, composed.asked, folders, strict) for point in composed.points]


def check_point(point: Point, asked: Asked, folders: tuple[str, ...], strict: bool) -> GridCell:
    """The cell of a point, checked unless the memory of finished jobs knows its config.

    Raises: ConfigError when the check refuses the config and `strict` is set.
    """
    from pomelo_lab.config.check import ConfigError, NotForThisData, validate_resolved

    checked, lacks, refused, fingerprint = point.config, "", point.error, ""
    question: dict[str, Any] = {}
    if refused and strict:
        raise ConfigError(refused)
    if not refused:
        question = finished.ask(point.config, asked)
        try:
            if known := finished.recall_job(question):
                checked, fingerprint = known
            else:
                checked = validate_resolved(point.config, asked)
        except NotForThisData as error:
            checked, lacks = error.config, error.reason
        except ConfigError as error:
            if strict:
                raise
            refused = str(error)
    return GridCell(
        point.choices,
        {key: unescaped(value) for key, value in point.point.items()},
        {**checked, "choices": point.choices},
        lacks,
        refused,
        folders,
        question,
        fingerprint,
    )


def questions(overrides: Sequence[str]) -> list[str]:
    """Keeps the overrides that change results. Scale, paths, devices and tracking do not."""
    silent = ("scale=", "paths.", "tracking", "device", "batch_size=", "force=", "keep_gb=", "hydra", "dry_run=")
    return [o for o in overrides if not o.lstrip("+").startswith(silent)]


def reason(text: str) -> str:
    """Puts a message of the config check in one line, without its heading."""
    head, _, rest = text.partition(":\n")
    lines = (
        [line.strip().removeprefix("- ") for line in rest.splitlines()]
        if head.startswith("the config has")
        else text.splitlines()
    )
    return "; ".join(filter(None, lines))


def refusals(refused: Sequence[GridCell], total: int, skipped: int = 0) -> Iterator[str]:
    """Lines that name the refused cells. Each kind of problem is printed once.

    Args: skipped: number of cells that the data set cannot build.
    """
    rest, other = total - len(refused) - skipped, f", {skipped} not for this data set" if skipped else ""
    yield f"{len(refused)} of {total} cells cannot run{other}" + (", the others do:" if rest else ":")
    names: dict[str, list[str]] = {}
    for cell in refused:
        names.setdefault(reason(cell.error), []).append(cell.name or "the job")
    for text, several in names.items():
        more = f" and {len(several) - 1} more" if len(several) > 1 else ""
        yield f"  {several[0]}{more}: {text}"
