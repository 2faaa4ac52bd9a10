"""The score folder of a job: its status, its scores and their summaries."""

from __future__ import annotations

import functools
import json
import logging
import math
import platform
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.inventory import is_stored
from pomelo_lab.engine.score_files import file_digests, read_status, write_columns
from pomelo_lab.engine.store import ShardKey, Store
from pomelo_lab.files import sweep, write_json, write_text
from pomelo_lab.metric.base import Summary

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

log = logging.getLogger(__name__)

SCHEMA = 1  # of status.json and summary.json; raised when a key changes its meaning
PACKAGES = ("torch", "numpy", "scikit-image", "umap-learn", "diffusers", "captum", "hydra-core")


class Scores:
    """Writes and reads the folder `<outputs>/score/<fingerprint>/` of a job.

    config.yaml: the resolved config. status.json: state, versions and costs of each stage. scores.parquet: a row for
    each image, and a column for each metric that scores single images. summary.json: {metric: {mean, std, n, ...}}, for
    all metrics.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = job.store.folder("score", job.fingerprint)
        # the selection of images, and the number of images that the classifier gets right
        self.images: dict[str, Any] = {}

    @property
    def status(self) -> dict[str, Any]:
        return read_status(self.folder)

    def is_done(self) -> bool:
        """Whether the job is finished and its results are undamaged. Warnings name damaged files."""
        status = self.status
        for path in status.get("damaged", ()):
            log.warning("%s is damaged: it is made again", path)
        return status.get("state") == "done" and is_stored(self.job)

    @contextmanager
    def record_state(self) -> Iterator[None]:
        """Writes the config before the block, and the state before and after it.

        When the block raises, the state is "failed", with the traceback, or "interrupted" after Ctrl-C.
        """
        from omegaconf import OmegaConf

        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        write_text(self.folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(dict(self.job.config))))
        started = time.time()
        self._write_status("running", started)
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            try:
                if stopped:
                    self._write_status("interrupted", started)
                else:
                    self._write_status("failed", started, error="".join(traceback.format_exception(error)))
            except OSError:
                pass  # for example a full disk: the user sees the first error
            raise
        self._write_status(
            "done",
            started,
            stages=self.stages(),
            images=self.images,
            folders=self.folders(),
            files=file_digests(self.folder),
        )

    def _write_status(self, state: str, started: float, **more: Any) -> None:
        status = {
            "schema": SCHEMA,
            "state": state,
            "fingerprint": self.job.fingerprint,
            "started": started,
            "seconds": time.time() - started,
            "device": str(self.job.parts.device),
            "versions": versions(),
            "peak_memory_mb": peak_memory_mb(self.job.parts.device),
            **more,
        }
        write_json(self.folder / "status.json", status)

    def stages(self) -> dict[str, dict[str, Any]]:
        """The seconds, classifier queries, generator evaluations and found batch sizes of each stage.

        They are sums over the shards that the job uses, even if another job computed them.
        """
        job, provenance = self.job, self.job.provenance
        stages = {kind: sum_costs(job, kind, made_from) for kind, made_from in provenance.stages.items()}
        if job.parts.explains and job.parts.explainer.fits:
            stages["statistics"] = sum_statistics_costs(job, provenance.statistics)
        for name, metric in job.parts.metrics.items():
            stages[f"metric.{name}"] = sum_costs(job, "metric", provenance.metric(name))
            if metric.fits:
                stages[f"statistics.{name}"] = sum_statistics_costs(job, provenance.reference(name))
        return {kind: costs for kind, costs in stages.items() if costs}

    def folders(self) -> dict[str, str]:
        """The folders of the job's stored artefacts, relative to paths.outputs."""
        store, stages = self.job.store, self.job.provenance.stages
        folders = {kind: store.folder(kind, digest(made_from)) for kind, made_from in stages.items()}
        return {kind: str(folder.relative_to(store.root)) for kind, folder in folders.items() if folder.is_dir()}

    def rows(self) -> dict[str, dict[str, Tensor]]:
        """The results of each metric's `score` for all images, in the order of the job's images."""
        rows: dict[str, dict[str, Tensor]] = {}
        for name in self.job.parts.metrics:
            groups = range(self.job.selection.n_groups)
            shards = [shard for group in groups if (shard := self.job.score(name, group)) is not None]
            keys = shards[0].tensors if shards else ()
            rows[name] = {key: torch.cat([shard.tensors[key] for shard in shards]) for key in keys}
            self.job.forget()
        return rows

    def gather(self) -> dict[str, Summary]:
        """Writes the scores and the summaries of all images to the folder, and returns the summaries.

        Ids come from stored artefacts. No image is read again if the data set knows its labels without reading images.
        """
        metrics, rows, columns = self.job.parts.metrics, self.rows(), self.columns()
        for name, tensors in rows.items():
            if (scores := metrics[name].values(tensors)) is not None:
                columns[name] = column(scores, tensors.get("counted"), len(columns["image_id"]))
        summaries = {
            name: metrics[name].summarize(tensors, self.job.reference(name))
            for name, tensors in rows.items()
            if tensors
        }
        write_columns(self.folder / "scores.parquet", columns)
        as_json = {name: summary_row(summary, metrics[name]) for name, summary in summaries.items()}
        write_text(self.folder / "summary.json", json.dumps({"schema": SCHEMA, **as_json}, indent=1))
        for name, summary in summaries.items():
            if text := describe_undefined(name, summary):
                print(text, file=sys.stderr)
        return summaries

    def columns(self) -> dict[str, list[Any]]:
        """The columns image_id, label and target of scores.parquet.

        The method also counts the images that the classifier gets right.
        """
        job, dataset, correct = self.job, self.job.parts.dataset, 0
        columns: dict[str, list[Any]] = {"image_id": [], "label": [], "target": []}
        for group in range(job.selection.n_groups):
            label = job.label(group)
            columns["image_id"] += job.image_id(group)
            columns["label"] += label.tolist()
            columns["target"] += job.target(group).tolist()
            correct += int((job.clean(group).argmax(-1) == label).sum())
            job.forget()
        self.images = {
            "n": len(columns["image_id"]),
            "of": len(dataset),
            "split": dataset.split,
            "splits": dataset.split_sizes(),
            "chosen": job.selection.rule,
            "correct": correct,
        }
        return columns


def column(scores: Tensor, counted: Tensor | None, n: int) -> list[float | None]:
    """The column of a metric in scores.parquet, with n rows.

    A value is None for an image that does not count (`counted`), and for images that the metric does not score.
    """
    counts = [True] * len(scores) if counted is None else (counted[: len(scores)] > 0.5).tolist()
    values = [value if kept else None for value, kept in zip(scores.double().tolist(), counts, strict=True)]
    return values + [None] * (n - len(values))


def describe_undefined(name: str, summary: Summary) -> str:
    """The message about a metric that is undefined for some or all images. "" when it is defined for all."""
    if summary.n_nan:
        return f"{name}: {summary.n_nan} of {summary.n + summary.n_nan} images have no finite value and are left out"
    if not math.isfinite(summary.mean) and summary.n:
        return f"{name}: undefined for {summary.n} image{'s' * (summary.n > 1)}"
    return ""


def work(config: Mapping[str, Any], device: str, rank: int, world: int) -> None:
    """Computes the explanations and scores of a job, in one of several processes.

    Args: rank: the number of this process, which handles every `world`-th group of images.
    """
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.plan import expect_rows
    from pomelo_lab.engine.progress import progress

    job = Job(config, Store(config["paths"]["outputs"]), device)
    if job.parts.runtime == "auto":
        expect_rows(job, world)
    with progress(rank == 0) as bar:
        for group in bar.groups(range(rank, job.selection.n_groups, world), job):
            if job.parts.explains:
                job.explanation(group)
            for name in job.parts.metrics:
                bar.say(name)
                job.score(name, group)
            job.forget()


def sum_costs(job: Job, kind: str, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded costs of a job's shards of one artefact."""
    fingerprint, selection = digest(provenance), job.selection
    keys = [ShardKey(kind, fingerprint, group, selection.group_size(group)) for group in range(selection.n_groups)]
    metas = [meta for key in keys if (meta := job.store.meta(key))]
    images = sum(len(meta["image_id"]) for meta in metas)
    return add_costs(metas) | {"images": images} if metas else {}


def sum_statistics_costs(job: Job, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded costs of statistics of training images and of their parts, which several jobs may share."""
    whole = job.store.meta(ShardKey("reference", digest(provenance)))
    parts = [job.store.meta(ShardKey("part", fingerprint, part)) for fingerprint, part in whole.get("parts", ())]
    return add_costs([whole, *(meta for meta in parts if meta)]) if whole else {}


def add_costs(metas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sums of seconds, queries and evaluations over several shards, and the last batch sizes and runtimes, by
    network."""
    sums = {key: sum(m[key] for m in metas) for key in ("seconds", "queries", "evaluations")}
    last = {key: {name: it for m in metas for name, it in m.get(key, {}).items()} for key in ("batch_size", "runtimes")}
    return sums | {key: by_network for key, by_network in last.items() if by_network}


def summary_row(summary: Summary, metric: Any) -> dict[str, Any]:
    """A summary as plain values for JSON, where NaN is None, with the metric's direction and unit."""
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(summary).items()}
    return {**clean, "direction": metric.direction, "unit": metric.unit}


def versions() -> dict[str, str]:
    """The versions of Python, of this package and of the libraries that can affect results."""
    import pomelo_lab

    version_of = {"python": platform.python_version(), "pomelo_lab": pomelo_lab.__version__}
    if commit := read_commit():
        version_of["commit"] = commit
    for name in PACKAGES:
        try:
            version_of[name] = version(name)
        except PackageNotFoundError:
            continue
    return version_of


@functools.cache
def read_commit() -> str:
    """The commit of the checkout that this package runs from, with "-dirty" behind it when files were changed. "" for
    an installed wheel, or without git."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
    if not (root / ".git").exists():
        return ""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def peak_memory_mb(device: torch.device) -> float:
    """The peak memory of the accelerator's allocator, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
