"""Insertion minus deletion (DAUC): the area under the insertion curve minus that under the deletion curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import index_pairs
from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.map_export import Export, export_maps
from pomelo_lab.metric.pixel_game import area_over_steps, ask, changed_pixels, fill_steps, rank_pixels, step_grid
from pomelo_lab.sampler.base import Filler

BLOCK = 80  # steps after which the InputIBA code reads its scores


@dataclass(kw_only=True)
class InsertionDeletion(Metric):
    """Mean target probability while the most important pixels are inserted, minus that while they are deleted; in
    [-1,1].

    Source: anonymous authors, "Fisher Divergence for Attribution" (undated),
        https://openreview.net/forum?id=eHIc7SL0sr, section 4.2; Petsiuk et al. (2018),
        https://arxiv.org/abs/1806.07421; Zhang et al. (2021), https://arxiv.org/abs/2110.01888 and its code.
        Departures: the class is the job's target. Of equal pixels the last in reading order goes first, as in RISE's
        code.
    Args:
        deletion: the filler of deleted pixels.
        insertion: the filler that makes the image from which insertion starts.
        step_px: pixels per step.
        protocol: "exact": areas by the trapezoidal rule over the changed share, from nothing to all. "rise": the same
            with equal steps, although the last may hold fewer pixels. "inputiba_compat": the InputIBA code, which has
            no first point and gives all 80 steps of a block the score of the block's last one, since it stacks
            references to one image; areas times 1 / steps.
        export: "uint8" scores the map as the baseline script of that code saved it.
    Shapes: score gives "value", "insertion_area", "deletion_area" [B], and "insertion", "deletion" [B,T], the
        probabilities.
    Cost: 2 (1 + ceil(H * W / step_px)) queries per image; inputiba_compat 2 ceil(H * W / step_px / 80).
    Random: the fillers', from a stream of their own.
    """

    direction: ClassVar = "higher"
    needs = frozenset({"explanation", "classifier"})
    random = True

    deletion: Filler
    insertion: Filler
    step_px: Count = 10
    protocol: Literal["exact", "rise", "inputiba_compat"] = "exact"
    export: Export = "none"

    def score(self, case: Case) -> dict[str, Tensor]:
        image = case.batch.image
        attribution = self.ensure_given(case.explanation.attribution, "an attribution")
        attribution = export_maps(attribution, self.export, image.shape[1])
        rank = rank_pixels(attribution).to(image.device)
        defined = attribution.isfinite().flatten(1).all(1).to(image.device)
        result: dict[str, Tensor] = {}
        for name, filler in (("insertion", self.insertion), ("deletion", self.deletion)):
            curve = self.curve(case, rank, filler, name).masked_fill(~defined[:, None], math.nan)
            result |= {f"{name}_area": self.area(curve, rank[0].numel()), name: curve.float()}
        return {"value": result["insertion_area"] - result["deletion_area"], **result}

    def asked_steps(self, n_px: int) -> tuple[Tensor, Tensor]:
        """Number and share of the changed pixels at the steps with a query: int64 [T], float64 [T]."""
        count, share = step_grid(n_px, self.step_px)
        if self.protocol != "inputiba_compat":
            return count, share
        # the last step of each block; the last block may be shorter
        last = torch.arange(BLOCK, len(count) - 1 + BLOCK, BLOCK).clamp_max(len(count) - 1)
        return count[last], share[last]

    def curve(self, case: Case, rank: Tensor, filler: Filler, game: str) -> Tensor:
        """The target's probability at each step of the "insertion" or "deletion" game: float64 [B,T]."""
        image, (count, _) = case.batch.image, self.asked_steps(rank[0].numel())
        filling = filler.filling(image, case.streams.named(f"dauc.{game}"), case.batch.image_id, case.segments)
        row, step = index_pairs(len(image), len(count), image.device)
        images = fill_steps(filling, changed_pixels(rank, count), inserts=game == "insertion")
        return ask(case.classifier, images, row, step, case.target).view(len(image), -1)

    def area(self, curve: Tensor, n_px: int) -> Tensor:
        """The area under curves by the protocol: [B,T] -> [B]."""
        if self.protocol == "exact":
            return torch.trapezoid(curve, self.asked_steps(n_px)[1].to(curve), dim=1)
        if self.protocol == "inputiba_compat":
            n_steps = -(-n_px // self.step_px)
            curve = curve.repeat_interleave(BLOCK, 1)[:, :n_steps]
            return torch.trapezoid(curve, dx=1 / n_steps, dim=1)
        return area_over_steps(curve)

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        n = len(self.asked_steps(shape[1] * shape[2])[0])
        return Cost(queries=2 * n) + self.deletion.fill_cost(n) + self.insertion.fill_cost(n)
