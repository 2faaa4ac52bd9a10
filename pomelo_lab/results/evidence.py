"""The stored scores behind an entry of a table: per image where they exist, else one number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pomelo_lab.results.claim import Sample
from pomelo_lab.results.preset import Cell
from pomelo_lab.results.published import Column

COST = "seconds_per_1000"


def sample(done: Sequence[Cell], metric: str, column: Column | None = None) -> Sample | None:
    """The scores behind an entry: per image where they exist (mean over repeats), else one number. None when nothing is stored."""
    found = [s for cell in done if (s := cell_sample(cell, metric)) is not None]
    if not found:
        return None
    sign = abs if column is not None and column.magnitude else float
    points = [s.point for s in found if s.point is not None]
    if points:
        return Sample({}, point=sign(sum(points) / len(points)))
    shared = [i for i in found[0].value if all(i in s.value for s in found)]
    return Sample({i: sign(sum(s.value[i] for s in found) / len(found)) for i in shared}, n_nan=max(s.n_nan for s in found))


def cell_sample(cell: Cell, metric: str) -> Sample | None:
    """One job's scores of a metric."""
    if metric == COST:
        cost = seconds_per_1000(cell)
        return None if cost is None else Sample({}, point=cost)
    name, _, part = metric.partition("[")
    if part:
        return part_sample(cell, name, part.rstrip("]"))
    scores = cell.scores()
    if metric in scores:
        value = {i: v for i, v in zip(scores["image_id"], scores[metric], strict=True) if v is not None}
        return Sample(value, n_nan=sum(not math.isfinite(v) for v in value.values()))
    mean = cell.summary.get(metric, {}).get("mean")
    return None if mean is None else Sample({}, point=mean)


def part_sample(cell: Cell, name: str, part: str) -> Sample | None:
    """One entry of what a metric gives per image: a class of its distribution, or a place (0, -1) of its curve; None when there is no such entry."""
    from pomelo_lab.results.score import Scores

    names = list(cell.job.dataset.class_names)
    place = int(part) if part.lstrip("-").isdigit() else None
    if name not in cell.summary or (place is None and part not in names):
        return None
    rows = Scores(cell.job).rows()[name]
    values = rows["distribution"][:, names.index(part)] if place is None else rows["curve"][:, place]
    found = dict(zip(cell.scores()["image_id"], values.tolist(), strict=False))
    return Sample(found, n_nan=sum(not math.isfinite(v) for v in found.values()))


def seconds_per_1000(cell: Cell) -> float | None:
    """Wall time of a job's sampler for 1,000 perturbed images, from the costs recorded when they were made."""
    cost = cell.status.get("stages", {}).get("perturbation")
    n = (cell.config.get("explainer") or {}).get("n_samples")
    return 1000 * cost["seconds"] / (cost["images"] * n) if cost and n and cost["images"] else None


def mean_of(found: Sample) -> float:
    finite = [v for v in found.value.values() if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan


def std(values: Sequence[float]) -> float | None:
    """Standard deviation with n - 1, None below two values."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
