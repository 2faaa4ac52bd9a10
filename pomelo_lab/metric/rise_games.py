"""The deletion and insertion games as RISE plays them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.sampler.base import Filler, every


@dataclass(kw_only=True)
class RiseGame(Metric):
    """The target's mean probability while pixels change from the most to the least important, to the last one.

    Source: Petsiuk et al. (2018), https://arxiv.org/abs/1806.07421, section 4 and its code (CausalMetric). First point:
        nothing changed; area by the trapezoidal rule over equal steps, whatever the last one holds. Of equal pixels the
        last in reading order goes first, as there.
        Departures: the class is the job's target; the code's blur is zero beyond the image, ours mirrors it.
    Args:
        filler: what deleted pixels become (there 0 after normalisation: the mean colour), or what insertion starts from
            (there a blurred image).
        step_px: pixels per step (Agarwal & Nguyen 2020: 224 * 8).
    Shapes: score gives "value" [B] and "curve" [B,T].
    Cost: 1 + ceil(H * W / step_px) queries per image, and as many fills where the filler looks at the mask.
    Random: the filler's, from a stream of its own.
    """

    needs = frozenset({"explanation", "classifier", "segments"})
    random = True
    inserts: ClassVar[bool]

    filler: Filler
    step_px: Count = 1792

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.filler.fill_uses_segments:
            self.needs = self.needs - {"segments"}

    def score(self, case: Case) -> dict[str, Tensor]:
        image, attribution = case.batch.image, case.explanation.attribution
        defined = attribution.isfinite().flatten(1).all(1)
        ascending = attribution.where(defined[:, None, None], 0).flatten(1).sort(dim=1, stable=True).indices
        rank = torch.empty_like(ascending)
        rank.scatter_(1, ascending.flip(1), torch.arange(ascending.shape[1], device=rank.device).expand_as(rank))
        rank = rank.view_as(attribution).to(image.device)
        n_steps = self.steps(image.shape[1:])
        filling = self.filler.filling(image, case.streams.named("rise_game"), case.batch.image_id, case.segments)
        row, place = every(len(image), n_steps + 1, image.device)

        def compose(start: int, stop: int) -> Tensor:
            changed = rank[row[start:stop]] < (place[start:stop] * self.step_px)[:, None, None]
            keep = changed if self.inserts else ~changed
            return filling(row[start:stop], keep.to(image), place[start:stop])

        curve = case.classifier.probability_of(compose, len(row), case.target[row]).view(len(image), -1).double()
        curve = curve.masked_fill(~defined[:, None].to(curve.device), math.nan)
        return {"value": (curve.sum(1) - (curve[:, 0] + curve[:, -1]) / 2) / n_steps, "curve": curve.float()}

    def steps(self, shape: tuple[int, ...]) -> int:
        return -(-shape[1] * shape[2] // self.step_px)

    def queries(self, shape: tuple[int, int, int], n_perturbations: int) -> int:
        return 1 + self.steps(shape)

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        return self.filler.fill_evaluations(1 + self.steps(shape))


@dataclass(kw_only=True)
class DeletionRise(RiseGame):
    """Deletion: the image loses its most important pixels first; lower is better."""

    direction = "lower"
    symbol = "Deletion"
    inserts = False


@dataclass(kw_only=True)
class InsertionRise(RiseGame):
    """Insertion: the start gains the image's most important pixels first; higher is better."""

    direction = "higher"
    symbol = "Insertion"
    inserts = True
