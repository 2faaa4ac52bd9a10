"""The score folder of a job: what outside scripts read."""

from __future__ import annotations

import json
import logging
import math
import platform
import resource
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

from pomelo_lab.config.fingerprint import digest, file_digest
from pomelo_lab.engine.inventory import is_stored
from pomelo_lab.engine.store import ShardKey, Store
from pomelo_lab.files import Damaged, read_json, sweep, write_bytes, write_json, write_text
from pomelo_lab.metric.base import Summary

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

log = logging.getLogger(__name__)

FILES = ("scores.parquet", "summary.json")  # what outside scripts read
PACKAGES = ("torch", "numpy", "scikit-image", "umap-learn", "diffusers", "captum", "hydra-core")


class Scores:
    """Fills and reads `<outputs>/score/<fingerprint>/`.

    config.yaml (resolved), status.json (state, versions, costs per stage), scores.parquet (a row per image, a column
    per per-image metric), summary.json ({metric: {mean, std, n, ...}}, set statistics included).
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = job.store.folder("score", job.fingerprint)
        # which images were looked at, and how many of them the classifier gives their label
        self.images: dict[str, Any] = {}

    @property
    def status(self) -> dict[str, Any]:
        return read_status(self.folder)

    def done(self) -> bool:
        """Whether the job is finished and all that it leaves is undamaged; damaged files are named in the log."""
        status = self.status
        for path in status.get("damaged", ()):
            log.warning("%s is damaged: it is made again", path)
        return status.get("state") == "done" and is_stored(self.job)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Write config and state around the block; the state is "failed", with the traceback, where it raises."""
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
                pass  # a full disk: the error itself is what the user sees
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

    def stages(self) -> dict[str, dict[str, float]]:
        """Seconds, classifier queries and network evaluations of each stage.

        They are sums over the shards that the job uses, whichever job made them.
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
        """Folders of the job's artefacts, below paths.outputs; without artefacts that are not kept."""
        store, stages = self.job.store, self.job.provenance.stages
        folders = {kind: store.folder(kind, digest(made_from)) for kind, made_from in stages.items()}
        return {kind: str(folder.relative_to(store.root)) for kind, folder in folders.items() if folder.is_dir()}

    def rows(self) -> dict[str, dict[str, Tensor]]:
        """The scores of each metric, as `Metric.score` returns them, all images in order."""
        rows: dict[str, dict[str, Tensor]] = {}
        for name in self.job.parts.metrics:
            groups = range(self.job.selection.n_groups)
            shards = [shard for group in groups if (shard := self.job.score(name, group)) is not None]
            keys = shards[0].tensors if shards else ()
            rows[name] = {key: torch.cat([shard.tensors[key] for shard in shards]) for key in keys}
            self.job.forget()
        return rows

    def gather(self) -> dict[str, Summary]:
        """Rows and summaries of all images, written to the folder.

        Ids and labels come from what is stored: no image is read again, where the data set knows labels without images.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        metrics, rows, columns = self.job.parts.metrics, self.rows(), self.columns()
        for name, tensors in rows.items():
            if (scores := metrics[name].values(tensors)) is not None:
                columns[name] = column(scores, tensors.get("counted"), len(columns["image_id"]))
        summaries = {
            name: metrics[name].summarize(tensors, self.job.reference(name))
            for name, tensors in rows.items()
            if tensors
        }
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), buffer)
        write_bytes(self.folder / "scores.parquet", buffer.getvalue().to_pybytes())
        as_json = {name: summary_row(summary, metrics[name]) for name, summary in summaries.items()}
        write_text(self.folder / "summary.json", json.dumps(as_json, indent=1))
        for name, summary in summaries.items():
            if text := describe_undefined(name, summary):
                print(text, file=sys.stderr)
        return summaries

    def columns(self) -> dict[str, list[Any]]:
        """Id, label and target of each image; counts how many labels are the classifier's most probable class."""
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
    """A metric's column of n rows: None for images that do not count, and for those that it does not score."""
    counts = [True] * len(scores) if counted is None else (counted[: len(scores)] > 0.5).tolist()
    values = [value if kept else None for value, kept in zip(scores.double().tolist(), counts, strict=True)]
    return values + [None] * (n - len(values))


def describe_undefined(name: str, summary: Summary) -> str:
    """What a user is told of a metric that is undefined for some or all images; "" where it is not."""
    if summary.n_nan:
        return f"{name}: {summary.n_nan} of {summary.n + summary.n_nan} images have no finite value and are left out"
    if not math.isfinite(summary.mean) and summary.n:
        return f"{name}: undefined for {summary.n} image{'s' * (summary.n > 1)}"
    return ""


def work(config: Mapping[str, Any], device: str, rank: int, world: int) -> None:
    """Explain and score every group of images of this rank."""
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.progress import progress

    job = Job(config, Store(config["paths"]["outputs"]), device)
    with progress(rank == 0) as bar:
        for group in bar.groups(range(rank, job.selection.n_groups, world), job):
            if job.parts.explains:
                job.explanation(group)
            for name in job.parts.metrics:
                bar.say(name)
                job.score(name, group)
            job.forget()


def sum_costs(job: Job, kind: str, provenance: Mapping[str, Any]) -> dict[str, float]:
    """Sum of the recorded costs over a job's shards of one artefact."""
    fingerprint, selection = digest(provenance), job.selection
    keys = [ShardKey(kind, fingerprint, group, selection.group_size(group)) for group in range(selection.n_groups)]
    metas = [meta for key in keys if (meta := job.store.meta(key))]
    images = sum(len(meta["image_id"]) for meta in metas)
    return summed(metas) | {"images": images} if metas else {}


def sum_statistics_costs(job: Job, provenance: Mapping[str, Any]) -> dict[str, float]:
    """The recorded costs of statistics of training images with their parts; all jobs that need them share them."""
    whole = job.store.meta(ShardKey("reference", digest(provenance)))
    parts = [job.store.meta(ShardKey("part", fingerprint, part)) for fingerprint, part in whole.get("parts", ())]
    return summed([whole, *(meta for meta in parts if meta)]) if whole else {}


def summed(metas: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {key: sum(m[key] for m in metas) for key in ("seconds", "queries", "evaluations")}


def summary_row(summary: Summary, metric: Any) -> dict[str, Any]:
    """A summary as JSON values: NaN becomes None."""
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(summary).items()}
    return {**clean, "direction": metric.direction, "unit": metric.unit}


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers can depend on."""
    import pomelo_lab

    version_of = {"python": platform.python_version(), "pomelo_lab": pomelo_lab.__version__}
    for name in PACKAGES:
        try:
            version_of[name] = version(name)
        except PackageNotFoundError:
            continue
    return version_of


def peak_memory_mb(device: torch.device) -> float:
    """Peak of the accelerator's allocator, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def read_status(folder: Path) -> dict[str, Any]:
    """The status of a score folder; {} when there is none.

    The state is "damaged" where status.json, or a file whose digest it holds, is not what was written. The key
    "damaged" then names the files.
    """
    path = folder / "status.json"
    try:
        status = read_json(path)
    except OSError:
        return {}
    except Damaged:
        status = {}
    if not isinstance(status.get("state"), str) or status.get("fingerprint") != folder.name:
        return {"state": "damaged", "damaged": [str(path)]}
    if status["state"] != "done":
        return status
    wanted = status.get("files") or dict.fromkeys(FILES)  # jobs of earlier versions have no digests
    bad = [str(folder / name) for name, digest in wanted.items() if not is_whole(folder / name, digest)]
    return {**status, "state": "damaged", "damaged": bad} if bad else status


def is_whole(path: Path, digest: str | None) -> bool:
    """Whether a file has these contents; without a digest, whether it can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if digest is not None:
            return file_digest(path) == digest
        return bool(pq.read_table(path) if path.suffix == ".parquet" else read_json(path) is not None)
    except (OSError, Damaged, pa.ArrowException):
        return False


def file_digests(folder: Path) -> dict[str, str]:
    """Digests of the files of a finished job, for its status."""
    return {name: file_digest(folder / name) for name in ("config.yaml", *FILES)}


def read_summary(folder: Path) -> dict[str, Any]:
    """summary.json, {} when there is none or it is damaged."""
    try:
        return read_json(folder / "summary.json")
    except (OSError, Damaged):
        return {}
