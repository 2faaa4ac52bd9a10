"""What a page shows of its jobs, as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pomelo_lab.export import open_job
from pomelo_lab.html_report.jobs import Shown
from pomelo_lab.html_report.pictures import Pictures
from pomelo_lab.results.claim import MIN_IMAGES, resamples
from pomelo_lab.results.evidence import sample
from pomelo_lab.results.report import Column, Row
from pomelo_lab.results.table import Table

STAGES = ("perturbation", "prediction", "explanation")  # of a job, which explain; metrics are others
COSTS = {
    "queries": "queries per image",
    "evaluations": "generator evaluations per image",
    "seconds": "seconds per image",
}
FIXED = ("image_id", "label", "target")  # columns of scores.parquet that are no scores


def describe_job(shown: Shown, pictures: Pictures) -> dict[str, Any]:
    """The values of a job: its images with their scores, the names of their pictures, its costs and its means.

    `problem` says why a job has no pictures; its scores are shown nevertheless.
    """
    columns, problem = shown.cell.scores(), ""
    drawn: dict[str, Any] = {"pictures": {}, "probability": []}
    try:
        drawn = pictures.write_job(open_job(shown.folder))
    except (ValueError, OSError, ImportError) as error:
        problem = f"no pictures of {shown.name}: {error}"
    names = {key: drawn.get(f"{key}s") or [] for key in ("label", "target")}
    summary = shown.cell.summary
    return {
        "name": shown.name,
        "fingerprint": shown.folder.name,
        "images": list(columns.get("image_id", ())),
        **{key: with_names(columns.get(key, ()), names[key]) for key in names},
        "probability": finite(drawn["probability"]),
        "pictures": drawn["pictures"],
        "scores": {name: finite(values) for name, values in columns.items() if name not in FIXED},
        "means": {name: only_finite(row.get("mean")) for name, row in summary.items()},
        "cost": cost_per_image(shown.cell.status),
        "problem": problem,
    }


def with_names(classes: Sequence[int], names: Sequence[str]) -> list[str]:
    """The names of classes; "class 3" where no name is known."""
    known = dict(zip(classes, names, strict=False))
    return [str(known.get(k, f"class {k}")) for k in classes]


def finite(values: Sequence[float | None]) -> list[float | None]:
    """Scores as JSON has them: None for what is not finite."""
    return [only_finite(value) for value in values]


def only_finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def cost_per_image(status: Mapping[str, Any]) -> dict[str, float]:
    """What the explanation of an image took, perturbations and their predictions included: each cost divided by the
    images of its stage. Work that another job had done before counts."""
    stages = [stage for name in STAGES if (stage := status.get("stages", {}).get(name)) and stage.get("images")]
    return {cost: sum((stage.get(cost) or 0) / stage["images"] for stage in stages) for cost in COSTS if stages}


def row_values(table: Table, row: Row, column: Column) -> list[float]:
    """The finite scores of a row, one per image (the mean over repeats); [] for a set statistic."""
    scores = sample(table.finished.get(row.key, ()), column.metric, table.report.column(column.metric))
    return [v for v in scores.value.values() if math.isfinite(v)] if scores is not None and scores.point is None else []


def interval(table: Table, row: Row, column: Column) -> tuple[float, float] | None:
    """The 95 % interval of a mean over the resamples of the images that judge claims; that of a set statistic where
    it reports one. None for fewer than 10 images."""
    values = row_values(table, row, column)
    if len(values) < MIN_IMAGES:
        return table.entry(row, column).interval
    low, high = np.quantile(resamples(len(values)) @ np.array(values), (0.025, 0.975))
    return float(low), float(high)
