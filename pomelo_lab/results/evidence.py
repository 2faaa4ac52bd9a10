"""The stored scores behind an entry of a table: one per image where they exist, otherwise a single number."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pomelo_lab.config.memory import recall, remember
from pomelo_lab.config.signature import locate
from pomelo_lab.engine.not_stored import NotStored
from pomelo_lab.results.claim import Resampled, Sample
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.report import Column

COSTS = {  # quantity -> (stage of a job, recorded number, unit: per image or per thousand perturbed images)
    "seconds_per_1000": ("perturbation", "seconds", "perturbations"),
    "seconds_per_image": ("explanation", "seconds", "images"),
    "queries_per_image": ("explanation", "queries", "images"),
}


def sample(done: Sequence[GridCell], metric: str, column: Column | None = None) -> Sample | None:
    """The scores behind an entry: per image where they exist (the mean over repeats), otherwise a single number.

    None when nothing is stored.
    """
    parts = [s for cell in done if (s := cell_sample(cell, metric)) is not None]
    if not parts:
        return None
    sign, signs = (abs, np.abs) if column is not None and column.magnitude else (float, np.asarray)
    n_nan, resampled = max(s.n_nan for s in parts), average([s.resampled for s in parts], signs)
    if points := [s.point for s in parts if s.point is not None]:
        repeats = [sign(v) for s in parts if s.point is not None for v in (s.repeats or (s.point,))]
        point = sign(sum(points) / len(points))
        return Sample({}, point, n_nan, tuple(repeats) if len(repeats) > 1 else (), resampled)
    shared = [i for i in parts[0].value if all(i in s.value for s in parts)]
    return Sample(
        {i: sign(sum(s.value[i] for s in parts) / len(parts)) for i in shared}, n_nan=n_nan, resampled=resampled
    )


def average(parts: Sequence[Resampled | None], signs: Any) -> Resampled | None:
    """Combines the statistics of several jobs of a row: the mean of their values for the same resample.

    None unless all jobs have the same images.
    """
    first = parts[0]
    if any(p is None for p in parts) or any((p.images, p.sizes) != (first.images, first.sizes) for p in parts):
        return None
    usable = np.stack([p.usable for p in parts]).all(0)
    return Resampled(
        first.images, usable, first.sizes, lambda weights: signs(np.mean([p.statistic(weights) for p in parts], axis=0))
    )


def cell_sample(cell: GridCell, metric: str) -> Sample | None:
    """The scores that one job stored for a metric, or None."""
    if metric in COSTS:
        number = cost(cell, metric)
        return None if number is None else Sample({}, point=number)
    name, _, part = metric.partition("[")
    if part:
        return part_sample(cell, name, part.rstrip("]"))
    scores, summary = cell.scores(), cell.summary.get(metric, {})
    if metric in scores:
        value = {i: v for i, v in zip(scores["image_id"], scores[metric], strict=True) if v is not None}
        n_nan = sum(not math.isfinite(v) for v in value.values())
        return Sample(value, n_nan=n_nan, resampled=resample_statistic(cell, metric))
    mean = summary.get("mean")
    if mean is None:
        return None
    return Sample(
        {}, point=mean, repeats=tuple(summary.get("repeats") or ()), resampled=resample_statistic(cell, metric)
    )


def resample_statistic(cell: GridCell, name: str) -> Resampled | None:
    """The statistic that is computed again for each resample, for metrics that are not plain means over images.

    None when the metric defines no such statistic or a shard is missing.
    """
    node = (cell.config.get("metrics") or {}).get(name)
    if node and not is_resampled(node["_target_"]):  # known without building the job's components
        return None
    from pomelo_lab.metric.base import Metric

    metric = cell.job.parts.metrics.get(name) if cell.job is not None else None
    if not isinstance(metric, Metric) or type(metric).resampled is Metric.resampled:
        return None
    import torch

    rows, reference = stored_rows(cell, name), stored_reference(cell.job, name)
    if not rows or reference is None:
        return None
    images = cell.scores()["image_id"][: len(next(iter(rows.values())))]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return metric.resampled(rows, reference, torch.from_numpy(weights)).numpy()

    return Resampled(tuple(images), metric.usable(rows).numpy(), metric.groups(len(images)), statistic)


@functools.cache
def is_resampled(target: str) -> bool:
    """Whether a metric defines a statistic for resamples. The class is imported once per installation of this
    package, because the import takes longer than a table."""
    ours = target.startswith("pomelo_lab.")
    if ours and (known := recall("resampled", {"metric": target})):
        return known["resampled"]
    from pomelo_lab.metric.base import Metric

    resampled = locate(target).resampled is not Metric.resampled
    if ours:
        remember("resampled", {"metric": target}, {"resampled": resampled})
    return resampled


def read_rows(job: Any, name: str) -> dict[str, Any]:
    """Reads the tensors that a metric stored for all images of a cell's job, in order. The result is empty when the job
    does not have the metric.

    Tables and figures read all values of single images through this function. Raises: NotStored when a shard is
    missing.
    """
    import torch

    if name not in job.parts.metrics:
        return {}
    shards = [s for group in range(job.selection.n_groups) if (s := job.score(name, group)) is not None]
    job.forget()
    return {key: torch.cat([s.tensors[key] for s in shards]) for key in (shards[0].tensors if shards else ())}


def stored_rows(cell: GridCell, name: str) -> dict[str, Any]:
    """Reads the tensors of a metric as `read_rows` does, but returns an empty result when a shard is missing. A
    matched cell counts fewer images."""
    try:
        rows = read_rows(cell.job, name)
    except NotStored:
        return {}
    if (
        "counted" in rows
        and (common := getattr(cell, "counted", None)) is not None
        and name in cell.matched_metrics([name])
    ):
        rows["counted"] = rows["counted"] * common[: len(rows["counted"])]
    return rows


def stored_reference(job: Any, name: str) -> dict[str, Any] | None:
    """Reads a metric's statistics of the training images; None when they are missing."""
    try:
        return dict(job.reference(name))
    except NotStored:
        return None


def part_sample(cell: GridCell, name: str, part: str) -> Sample | None:
    """Reads one component of the values that a metric stores per image; None when it does not exist.

    Args: part: a class of its distribution; a position (0, -1) in its curve; the name of a stored tensor [B];
        `name:position` for a stored tensor [B,L].
    """
    if name not in cell.summary:
        return None
    rows, names = stored_rows(cell, name), list(cell.job.parts.dataset.class_names)
    key, _, position = part.partition(":")
    if part.lstrip("-").isdigit():
        key, position = "curve", part
    elif part in names and "distribution" in rows:
        key, position = "distribution", str(names.index(part))
    values = rows.get(key)
    if values is None or values.ndim != (2 if position else 1):
        return None
    values = (values[:, int(position)] if position else values).double()
    counted = (rows["counted"] > 0.5).tolist() if "counted" in rows else [True] * len(values)
    triples = zip(cell.scores()["image_id"][: len(values)], values.tolist(), counted, strict=True)
    value = {image: v for image, v, kept in triples if kept}
    return Sample(value, n_nan=sum(not math.isfinite(v) for v in value.values()))


def cost(cell: GridCell, quantity: str) -> float | None:
    """A recorded cost of a job: seconds of its sampler for 1,000 perturbed images, or seconds or queries of its
    explainer per image."""
    stage, number, per = COSTS[quantity]
    recorded = cell.status.get("stages", {}).get(stage)
    if not recorded or not recorded["images"]:
        return None
    if per == "images":
        return recorded[number] / recorded["images"]
    n = (cell.config.get("explainer") or {}).get("n_samples")
    return 1000 * recorded[number] / (recorded["images"] * n) if n else None


def mean_of(sample: Sample) -> float:
    finite = [v for v in sample.value.values() if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan


def std(values: Sequence[float]) -> float | None:
    """The standard deviation with n - 1; None for fewer than two values."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
