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
    """One class's entry of a metric that gives a distribution per image; None when the data set has no such class."""
    from pomelo_lab.results.score import Scores

    names = list(cell.job.dataset.class_names)
    if name not in cell.summary or part not in names:
        return None
    share = Scores(cell.job).rows()[name]["distribution"][:, names.index(part)].tolist()
    return Sample(dict(zip(cell.scores()["image_id"], share, strict=False)))


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
