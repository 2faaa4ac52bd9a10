"""The cells of a preset: each point of its grid, and the score folder that belongs to it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pomelo_lab.config.entry import CONF, rename_row_group, searched_folders
from pomelo_lab.config.tree import nodes
from pomelo_lab.engine import finished
from pomelo_lab.engine.score_files import read_status, read_summary


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
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / "scores.parquet").to_pydict() if self.state == "done" else {}


def cells(experiment: str, overrides: Sequence[str] = (), strict: bool = True) -> list[GridCell]:
    """Every job that `python -m pomelo_lab.run -m experiment=<experiment> <overrides>` runs or skips, in the same
    order.

    Args:
        experiment: "" for a grid without a preset.
        strict: False keeps cells that the config check refuses, with its message as their `error`.
    Raises: ConfigError for a preset or override that does not exist.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from pomelo_lab.config.check import ConfigError, NotForThisData, resolved, validate_resolved
    from pomelo_lab.config.preset_data import Asked, keys
    from pomelo_lab.config.schema import register

    register()
    overrides = rename_row_group(overrides)
    preset = [f"experiment={experiment}"] if experiment else []
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    grid_cells = []
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            base = compose("run", overrides=[*preset, *no_sweeps(overrides)], return_hydra_config=True)
            varied = {str(key): str(value) for key, value in (base.hydra.sweeper.params or {}).items()}
            swept = dict(varied)
            loader = GlobalHydra.instance().config_loader()  # knows what a glob stands for
            typed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
            for parsed in typed:
                key = parsed.get_key_element()
                if parsed.is_sweep_override():
                    swept[key] = ",".join(parsed.sweep_string_iterator())
                else:
                    swept.pop(key, None)
            asked = Asked(
                bool(experiment),
                keys(typed),
                {key: first for key, first in axes(varied).items() if key not in keys(typed)},
            )
            lines = [[(key, value) for value in sweep_values(f"{key}={text}")] for key, text in swept.items()]
            for point in itertools.product(*lines):
                assigned = [f"{key}={value}" for key, value in point]
                config = compose("run", overrides=[*preset, *no_sweeps(overrides), *assigned], return_hydra_config=True)
                names = {g: n for g, n in config.hydra.runtime.choices.items() if "/" not in g and "@" not in g and n}
                plain = {key: config[key] for key in config if key != "hydra"}
                lacks = refused = fingerprint = ""
                question: dict[str, Any] = {}
                try:
                    checked = resolved(type(config)(plain))
                    question = finished.ask(checked, asked)
                    if known := finished.recall_job(question):
                        checked, fingerprint = known
                    else:
                        checked = validate_resolved(checked, asked)
                except NotForThisData as error:
                    checked, lacks = error.config, error.reason
                except ConfigError as error:
                    if strict:
                        raise
                    checked, refused = plain, str(error)
                grid_cells.append(
                    GridCell(
                        names,
                        {key: unescaped(value) for key, value in point},
                        {**checked, "choices": names},
                        lacks,
                        refused,
                        searched_folders(overrides),
                        question,
                        fingerprint,
                    )
                )
    finally:
        GlobalHydra.instance().clear()
        if before is not None:
            GlobalHydra.instance().initialize(before)
    return grid_cells


def sweep_values(override: str) -> list[str]:
    """Splits the values of a sweep: "sampler=black,gray" -> ["black", "gray"]."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    return list(parsed.sweep_string_iterator()) if parsed.is_sweep_override() else [parsed.get_value_element_as_str()]


def axes(params: Any) -> dict[str, str]:
    """Maps each key that a preset varies to its first value."""
    return {str(key).lstrip("+"): unescaped(sweep_values(f"{key}={text}")[0]) for key, text in (params or {}).items()}


def no_sweeps(overrides: Sequence[str]) -> list[str]:
    """Removes the overrides that are sweeps."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [text for text, override in zip(overrides, parsed, strict=True) if not override.is_sweep_override()]


def questions(overrides: Sequence[str]) -> list[str]:
    """Keeps the overrides that change results. Scale, paths, devices and tracking do not."""
    silent = ("scale=", "paths.", "tracking", "device", "batch_size=", "force=", "keep_gb=", "hydra", "dry_run=")
    return [o for o in overrides if not o.lstrip("+").startswith(silent)]


def unescaped(value: str) -> str:
    """The text of a swept value. Hydra passes on `Lung Opacity` as it would be typed, in quotes or with a backslash
    before the blank."""
    inside = re.fullmatch(r"(['\"])(.*)\1", value)
    return inside[2] if inside else re.sub(r"\\(.)", r"\1", value)


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
