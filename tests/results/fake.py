"""Finished jobs without running anything: what tables and figures read of a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pomelo_lab.dataset.base import Dataset
from pomelo_lab.engine.store import Shard
from pomelo_lab.metric.localization import Localization
from pomelo_lab.types import Batch, Explanation, Perturbations

ALPHAS = 9  # thresholds of the fabricated localisation
DIRECTIONS = {
    "mahalanobis": "lower",
    "silhouette": "lower",
    "l2": "lower",
    "stability": "lower",
    "label_distribution": None,
}


@dataclass
class FakeCell:
    """A cell of a preset with scores as given: metric -> value per image; a set statistic's number, or its repeats;
    None = does not apply."""

    choices: dict[str, str]
    values: Mapping[str, Sequence[float] | float | None] = field(default_factory=dict)
    state: str = "done"
    point: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=lambda: {"scale": {"name": "smoke"}, "paths": {"outputs": "."}})
    status: dict[str, Any] = field(default_factory=dict)
    job: Any = None
    folder: Path | None = None
    lacks: str = ""
    error: str = ""
    folders: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.point.items())

    @property
    def summary(self) -> dict[str, Any]:
        return {m: summary(m, v) for m, v in self.values.items()} if self.state == "done" else {}

    def scores(self) -> dict[str, list[Any]]:
        rows = {m: list(v) for m, v in self.values.items() if isinstance(v, list)}
        rows |= {m: [] for m, v in self.values.items() if v is None}
        n = max(map(len, rows.values()), default=0)
        return {"image_id": [f"i{k}" for k in range(n)], **{m: v + [None] * (n - len(v)) for m, v in rows.items()}}


def summary(metric: str, value: Any) -> dict[str, Any]:
    head = {"direction": DIRECTIONS.get(metric, "higher"), "unit": ""}
    if value is None:
        return {"mean": None, "std": None, "n": 0, "n_nan": 0, "details": {"applies": 0.0}, **head}
    if isinstance(value, tuple):
        return {"mean": sum(value) / len(value), "std": None, "n": 12, "n_nan": 0, "repeats": list(value), **head}
    if isinstance(value, (int, float)):
        return {"mean": value, "std": None, "n": 12, "n_nan": 0, **head}
    finite = torch.tensor([v for v in value if math.isfinite(v)], dtype=torch.float64)
    return {
        "mean": float(finite.mean()),
        "std": float(finite.std()),
        "n": len(finite),
        "n_nan": len(value) - len(finite),
        **head,
    }


class FakeJob:
    """The artefacts of one group of images, random but fixed."""

    class_name = Dataset.class_name

    n_groups, n_images = 1, 12

    def __init__(self, metrics: Sequence[str], seed: int = 0, n: int = 12) -> None:
        self.seed = seed
        self.random = torch.Generator().manual_seed(seed)
        self.metrics = {name: Localization(n_alphas=ALPHAS) if name == "localization" else self for name in metrics}
        self.parts = self.selection = self.dataset = self
        self.n = n
        self.class_names = ("blond", "black", "gray", "brown", "bald")
        self.attribute, self.attribute_names = "Smiling", ("Young", "Smiling", "Bald")
        self.config = {"seed": seed}

    def uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.random)

    def score(self, name: str, group: int) -> Shard:
        if name == "label_distribution":
            return Shard({"distribution": self.uniform(self.n, 5).softmax(1).double()})
        if name == "cd":
            return Shard({"change": (self.uniform(self.n, 3) * 3).floor() - 1, "counted": torch.ones(self.n)})
        if name == "localization":
            candidates = self.uniform(self.n, ALPHAS).double()
            return Shard({"candidates": candidates, "value": candidates.mean(1)})
        if name == "silhouette":
            return Shard({"feature": self.uniform(self.n, 3, 4)})
        points = 101 if name in ("iou", "emr", "emp") else 9
        curve = self.uniform(self.n, points).sort(1, descending=True).values
        return Shard(
            {"value": curve.mean(1), "curve": curve, "fraction": torch.linspace(0, 0.5, points).expand(self.n, -1)}
        )

    def reference(self, name: str) -> dict[str, torch.Tensor]:
        return {"distribution": self.uniform(5).softmax(0), "correlation": torch.tensor([0.5, 1.0, -0.2])}

    def column(self, attribute: str) -> int:
        return self.attribute_names.index(attribute)

    def siblings(self, metric: Any) -> list[FakeJob]:
        return [self, self]

    def embedding(self, rows: Any, reference: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.uniform(30, 2), self.uniform(30, 2) + 0.5

    def batch(self, group: int) -> Batch:
        image, boxes = (
            self.uniform(self.n, 3, 16, 16),
            {"label": torch.tensor([2.0, 2.0, 10.0, 12.0]).expand(self.n, 1, 4)},
        )
        return Batch(
            image,
            torch.zeros(self.n, dtype=torch.long),
            tuple(f"i{k}" for k in range(self.n)),
            torch.arange(self.n),
            boxes=boxes,
        )

    def perturbations(self, group: int) -> Perturbations:
        return Perturbations(Perturbations.quantize(self.uniform(self.n, 8, 3, 16, 16)))

    def explanation(self, group: int) -> Explanation:
        """One method in two also has counterfactuals, as attributions and counterfactuals stand in one table."""
        target, attribution = torch.zeros(self.n, dtype=torch.long), self.uniform(self.n, 16, 16) - 0.5
        if self.seed % 2:
            return Explanation(target, attribution)
        way = {name: Perturbations.quantize(self.uniform(self.n, 4, 3, 16, 16)) for name in ("noisy", "clean")}
        way |= {"push": self.uniform(self.n, 4, 3), "place": torch.tensor([9.0, 6.0, 3.0, 1.0]).expand(self.n, -1)}
        extra = {"flipped": self.uniform(self.n) > 0.5, "score": self.uniform(self.n, 6) - 0.5, **way}
        return Explanation(target, attribution, self.uniform(self.n, 3, 16, 16), extra)

    def forget(self) -> None: ...
