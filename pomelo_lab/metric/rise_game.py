"""The deletion and insertion games as RISE plays them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pomelo_lab.batching import index_pairs
from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.pixel_game import area_over_steps, ask, changed_pixels, fill_steps, rank_pixels, step_grid
from pomelo_lab.sampler.base import Filler


@dataclass(kw_only=True)
class RiseGame(Metric):
    """The target's mean probability while pixels change from the most to the least important, to the last one.

    Source: Petsiuk et al. (2018), https://arxiv.org/abs/1806.07421, section 4 and its code (CausalMetric). The
        first point is the unchanged image; the area follows the trapezoidal rule with equal steps, although the last
        one may hold fewer pixels. Of equal pixels the last in reading order goes first, as in the code. Departures: the
        class is the job's target; the code's blur is zero beyond the image, ours mirrors it.
    Args:
        filler: replaces deleted pixels (the paper: by the mean colour), or makes the image from which insertion starts
            (the paper: a blurred image).
        step_px: pixels per step (Agarwal & Nguyen 2020: 224 * 8).
    Shapes: score gives "value" [B] and "curve" [B,T].
    Cost: 1 + ceil(H * W / step_px) queries per image, and as many fills where the filler looks at the mask.
    Random: the filler draws from streams named "rise_game".
    """

    needs = frozenset({"explanation", "classifier"})
    random = True
    inserts: ClassVar[bool]

    filler: Filler
    step_px: Count = 1792

    def score(self, case: Case) -> dict[str, Tensor]:
        image, attribution = case.batch.image, self.ensure_given(case.explanation.attribution, "an attribution")
        count, _ = self.steps(tuple(image.shape[1:]))
        rank = case.once("rank_pixels", lambda: rank_pixels(attribution).to(image.device))
        changed = changed_pixels(rank, count)
        filling = self.filler.filling(image, case.streams.named("rise_game"), case.batch.image_id, case.segments)
        row, step = index_pairs(len(image), len(count), image.device)
        images = fill_steps(filling, changed, self.inserts)
        curve = ask(case.classifier, images, row, step, case.target).view(len(image), -1)
        defined = attribution.isfinite().flatten(1).all(1).to(curve.device)
        curve = curve.masked_fill(~defined[:, None], math.nan)
        return {"value": area_over_steps(curve), "curve": curve.float()}

    def steps(self, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        """Number and share of the changed pixels at each step."""
        return step_grid(shape[1] * shape[2], self.step_px)

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        n = len(self.steps(shape)[0])
        return Cost(queries=n) + self.filler.fill_cost(n)


@dataclass(kw_only=True)
class DeletionRise(RiseGame):
    """Deletion: the image loses its most important pixels first; lower is better."""

    direction = "lower"
    inserts = False


@dataclass(kw_only=True)
class InsertionRise(RiseGame):
    """Insertion: the start gains the image's most important pixels first; higher is better."""

    direction = "higher"
    inserts = True
