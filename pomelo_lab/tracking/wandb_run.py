"""Weights & Biases tracking: offline by default, with one run per job. The id of a run is the job's fingerprint."""

from __future__ import annotations

import csv
import inspect
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.roles import ROLES
from pomelo_lab.engine.score_files import read_columns
from pomelo_lab.tracking.no_tracker import NoTracker
from pomelo_lab.tracking.sync import TABLE
from pomelo_lab.types import to_8_bits

if TYPE_CHECKING:
    from torch import Tensor

    from pomelo_lab.engine.scores import Scores
    from pomelo_lab.metric.base import Summary

log = logging.getLogger(__name__)

FLAT = (*ROLES, "metrics", "scale")
INIT_TIMEOUT_S = 60.0


@contextmanager
def wandb_session(config: Mapping[str, Any], scores: Scores) -> Iterator[Any]:
    """Opens a W&B run for the block. The run ends with exit code 1 when the block raises.

    An unreachable server causes a warning instead of an error.
    """
    run = start(config, scores)
    if run is None:
        yield NoTracker()
        return
    code = 1
    try:
        yield WandbTracker(run, config["tracking"]["n_overlays"])
        code = 0
    finally:
        call_guarded("finish", lambda: run.finish(exit_code=code))


def start(config: Mapping[str, Any], scores: Scores) -> Any:
    """Starts the run of a job, with names to filter by: group = table or grid, job type = explainer, id = fingerprint.

    Returns: None when the run cannot start.
    """
    choices = config.get("choices") or {}
    flat = {role: choices[role] for role in FLAT if role in choices}
    parts = [*(flat.get(r) for r in ("explainer", "sampler", "classifier", "dataset")), f"s{config['seed']}"]
    settings = {k: v for k, v in config.items() if k not in ("paths", "choices", "search_path", *flat)}
    return open_run(
        config,
        scores.job.store.root,
        scores.job.fingerprint,
        name="/".join(p for p in parts if p),
        group=group(config),
        job_type=flat.get("explainer"),
        config=portable({**settings, **{f"{k}_config": config[k] for k in flat}, **flat}),
    )


def open_run(config: Mapping[str, Any], root: Path, run_id: str, /, **names: Any) -> Any:
    """Calls wandb.init with the folder `root`. A failure causes a warning, and the result is then None.

    The run contains no information about the machine, its folders and its command line.
    """
    wandb = import_wandb()
    options = config["tracking"]
    folder = root / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    swept = "WANDB_SWEEP_ID" in os.environ  # a sweep agent sets the id of the run
    if options["mode"] == "offline" and not swept:
        remove_stale(folder, run_id)
    private = {"x_disable_meta": True, "x_disable_machine_info": True, "disable_git": True, "disable_code": True}
    return call_guarded(
        "init",
        lambda: wandb.init(
            project=options["project"],
            entity=options["entity"],
            mode=options["mode"],
            dir=str(root),
            id=None if swept else run_id,
            resume=None if swept or options["mode"] == "offline" else "allow",
            tags=[t for t in (config["paper_table"], (config.get("choices") or {}).get("scale")) if t],
            reinit="finish_previous",
            settings=wandb.Settings(init_timeout=INIT_TIMEOUT_S, console="off", silent=True, **private),
            **names,
        ),
    )


def import_wandb() -> Any:
    """The library wandb, imported in half of the time.

    pydantic asks for the stack frames of 340 classes, to read descriptions of their fields from their sources. Nothing
    here shows one. It asks for none on a Python without frames, which `inspect.currentframe` tells by None. And wandb
    imports pandas to compare the type of each logged value with a data frame's, unless it believes that there is none.
    It then compares the type's name.
    """
    frames, inspect.currentframe = inspect.currentframe, lambda: None
    try:
        import wandb
    finally:
        inspect.currentframe = frames
    wandb.util.pd_available = False
    return wandb


def group(config: Mapping[str, Any]) -> str | None:
    """The W&B group of a job: the table, the preset or the grid that its command runs."""
    from pomelo_lab.results.callback import GROUP

    return config["paper_table"] or (config.get("choices") or {}).get("experiment") or os.environ.get(GROUP)


def portable(value: Any) -> Any:
    """A config without the folders of this machine: each absolute path is replaced by its last part."""
    if isinstance(value, Mapping):
        return {key: portable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(inner) for inner in value]
    if isinstance(value, str) and re.match(r"(file://|~|/|[A-Za-z]:[\\/])", value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def log_table(config: Mapping[str, Any], name: str, folder: Path, figures: Sequence[Path], shared: str = "") -> None:
    """Logs a run for a whole grid: its table with the papers' numbers, the verdicts on their claims, and its figures.

    Args: shared: the group of the grid's jobs, used when the config names none.
    """
    from pomelo_lab.config.fingerprint import digest

    run_id = TABLE + digest({"table": name, "folder": folder.name})
    run = open_run(
        config,
        Path(config["paths"]["outputs"]),
        run_id,
        name=f"table {name}",
        group=group(config) or shared or name,
        job_type="table",
    )
    if run is None:
        return
    code = 1
    try:
        code = 0 if call_guarded("log", lambda: _log_table(run, name, folder, figures) or True) else 1
    finally:
        call_guarded("finish", lambda: run.finish(exit_code=code))


def _log_table(run: Any, name: str, folder: Path, figures: Sequence[Path]) -> None:
    import wandb

    rows = list(csv.reader((folder / "table.csv").open()))
    logged: dict[str, Any] = {"table": wandb.Table(columns=rows[0], data=rows[1:])}
    claims = json.loads((folder / "claims.json").read_text())
    if claims:
        heads = ["verdict", "section", "says", "decided_by", "published_numbers"]
        logged["claims"] = wandb.Table(columns=heads, data=[[str(claim[head]) for head in heads] for claim in claims])
    logged |= {f"figure/{path.stem}": wandb.Image(str(path)) for path in figures}
    run.log(logged)
    files = wandb.Artifact(re.sub(r"[^\w.-]+", "-", f"table-{name}"), type="table")
    for path in [*sorted(folder.iterdir()), *figures, *(p.with_suffix(".pdf") for p in figures)]:
        if path.is_file():
            files.add_file(str(path))
    run.log_artifact(files)


def remove_stale(folder: Path, fingerprint: str) -> None:
    """Removes the offline folders that interrupted attempts at the same job left, so that only one can be uploaded."""
    for old in folder.glob(f"offline-run-*-{fingerprint}"):
        shutil.rmtree(old, ignore_errors=True)


def call_guarded(what: str, call: Any) -> Any:
    """Calls a function of the tracker. Any exception becomes a warning, so that tracking never prevents a result."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 (any failure of the tracker, network or disk)
        log.warning("W&B %s failed (%s: %s): the results are on disk all the same", what, type(error).__name__, error)
        return None


class WandbTracker:
    """Logs a finished job: summaries of its metrics, a row for each image, and overlays of attributions."""

    def __init__(self, run: Any, n_overlays: int) -> None:
        self.run, self.n_overlays = run, n_overlays

    def log(self, scores: Scores, summaries: Mapping[str, Summary]) -> None:
        call_guarded("log", lambda: self._log(scores, summaries))

    def _log(self, scores: Scores, summaries: Mapping[str, Summary]) -> None:
        import wandb

        from pomelo_lab.results.sheet import FILE

        for name, summary in summaries.items():
            self.run.summary[name] = summary.mean
            self.run.summary[f"{name}_std"] = summary.std
            self.run.summary[f"{name}_n"] = summary.n
        for stage, costs in scores.stages().items():
            self.run.summary.update({f"cost/{stage}/{key}": value for key, value in costs.items()})
        # relative to paths.outputs, because paths of this machine are not uploaded
        self.run.summary["results"] = f"score/{scores.job.fingerprint}"
        columns = read_columns(scores.folder / "scores.parquet")
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        logged: dict[str, Any] = {"scores": wandb.Table(columns=list(columns), data=rows)}
        if scores.job.parts.explains and self.n_overlays:
            logged["attribution"] = [wandb.Image(image, caption=caption) for image, caption in self._overlays(scores)]
        if (scores.folder / FILE).exists():
            logged["sheet"] = wandb.Image(str(scores.folder / FILE))
        self.run.log(logged)

    def _overlays(self, scores: Scores) -> list[tuple[Any, str]]:
        from pomelo_lab.results.sheet import overlays

        job = scores.job.reader
        batch, explanation = job.batch(0), job.explanation(0)
        n = min(self.n_overlays, len(batch))
        if explanation.attribution is None:
            return []
        pictures = overlays(batch.image[:n], explanation.attribution[:n])
        name = job.parts.dataset.class_name
        return [
            (pixels(picture), f"{batch.image_id[i]}: {name(int(explanation.target[i]))}")
            for i, picture in enumerate(pictures)
        ]


def pixels(picture: Tensor) -> Any:
    """Converts a picture [C,H,W] in [0,1] to bytes [H,W,C]. `wandb.Image` would not scale the floats to bytes."""
    return to_8_bits(picture).permute(1, 2, 0).numpy()
