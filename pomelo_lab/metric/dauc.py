"""DAUC: the area under the insertion curve minus that under the deletion curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.export import Export, exported
from pomelo_lab.sampler.base import Filler, every

BLOCK = 80  # steps after which the InputIBA code reads its scores


@dataclass(kw_only=True)
class DAUC(Metric):
    """Mean target probability while the most important pixels come first, minus that while they go first; in [-1,1].

    Source: "Fisher Divergence for Attribution", section 4.2; Petsiuk et al. (2018); Zhang et al. (2021) and its code.
        Departures: the class is the job's target. Of equal pixels the last in reading order goes first, as in RISE's
            code.
    Args:
        deletion, insertion: fillers: what deleted pixels become, and the image that insertion starts from.
        step_px: pixels per step.
        protocol: "exact": areas by the trapezoidal rule over the changed share, from nothing to all. "rise": the same
            over equal steps, whatever the last holds. "inputiba_compat": the InputIBA code: no first point, and every
            score of a block of 80 steps is that of the block's last state, since the code stacks references to one
            image; areas times 1 / steps.
        export: "uint8" scores the map as the baseline script of that code saved it.
    Shapes: score gives "value", "insertion_area", "deletion_area" [B], and "insertion", "deletion" [B,T], the
        probabilities.
    Cost: 2 (1 + ceil(H * W / step_px)) queries per image; inputiba_compat 2 ceil(H * W / step_px / 80).
    Random: the fillers', from a stream of their own.
    """

    direction: ClassVar = "higher"
    symbol = "DAUC"
    needs = frozenset({"explanation", "classifier", "segments"})
    random = True

    deletion: Filler
    insertion: Filler
    step_px: Count = 10
    protocol: Literal["exact", "rise", "inputiba_compat"] = "exact"
    export: Export = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.deletion.fill_uses_segments or self.insertion.fill_uses_segments):
            self.needs = self.needs - {"segments"}

    def score(self, case: Case) -> dict[str, Tensor]:
        image = case.batch.image
        attribution = exported(case.explanation.attribution, self.export, image.shape[1])
        defined = attribution.isfinite().flatten(1).all(1)
        ascending = attribution.where(defined[:, None, None], 0).flatten(1).sort(dim=1, stable=True).indices
        rank = torch.empty_like(ascending)
        rank.scatter_(1, ascending.flip(1), torch.arange(ascending.shape[1], device=rank.device).expand_as(rank))
        rank = rank.view_as(attribution).to(image.device)
        result: dict[str, Tensor] = {}
        for name, filler in (("insertion", self.insertion), ("deletion", self.deletion)):
            curve = self.curve(case, rank, filler, name == "insertion").masked_fill(
                ~defined[:, None].to(image.device), math.nan
            )
            result |= {f"{name}_area": self.area(curve, rank[0].numel()), name: curve.float()}
        return {"value": result["insertion_area"] - result["deletion_area"], **result}

    def changed(self, n_px: int) -> Tensor:
        """Pixels changed where the classifier is asked: int64 [T]."""
        steps = torch.arange(-(-n_px // self.step_px) + 1) * self.step_px
        steps[-1] = n_px
        if self.protocol != "inputiba_compat":
            return steps
        # of each block; the last may be shorter
        last = torch.arange(BLOCK, len(steps) - 1 + BLOCK, BLOCK).clamp_max(len(steps) - 1)
        return steps[last]

    def curve(self, case: Case, rank: Tensor, filler: Filler, inserts: bool) -> Tensor:
        image, changed = case.batch.image, self.changed(rank[0].numel()).to(rank.device)
        streams = case.streams.named("dauc.insertion" if inserts else "dauc.deletion")
        filling = filler.filling(image, streams, case.batch.image_id, case.segments)
        row, place = every(len(image), len(changed), image.device)

        def compose(start: int, stop: int) -> Tensor:
            touched = rank[row[start:stop]] < changed[place[start:stop]][:, None, None]
            keep = touched if inserts else ~touched
            return filling(row[start:stop], keep.to(image), place[start:stop])

        return case.classifier.probability_of(compose, len(row), case.target[row]).view(len(image), -1).double()

    def area(self, curve: Tensor, n_px: int) -> Tensor:
        """[B,T] -> [B]."""
        if self.protocol == "exact":
            return torch.trapezoid(curve, self.changed(n_px).to(curve) / n_px, dim=1)
        if self.protocol == "inputiba_compat":
            n_steps = -(-n_px // self.step_px)
            curve = curve.repeat_interleave(BLOCK, 1)[:, :n_steps]
            return torch.trapezoid(curve, dx=1 / n_steps, dim=1)
        return (curve.sum(1) - (curve[:, 0] + curve[:, -1]) / 2) / (curve.shape[1] - 1)

    def queries(self, shape: tuple[int, int, int], n_perturbations: int) -> int:
        return 2 * len(self.changed(shape[1] * shape[2]))

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        n = len(self.changed(shape[1] * shape[2]))
        return self.deletion.fill_evaluations(n) + self.insertion.fill_evaluations(n)
