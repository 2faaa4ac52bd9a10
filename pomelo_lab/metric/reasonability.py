"""Reasonability: overlap of an attribution with an annotation mask, over all thresholds."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from pomelo_lab.config.hints import Range
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric


class Overlap(NamedTuple):
    """Numbers of pixels at T thresholds, float64: selected and in the mask [B,T], selected [B,T], in the mask [B]."""

    intersection: Tensor
    selected: Tensor
    area: Tensor


@dataclass(kw_only=True)
class MaskOverlap(Metric):
    """Area under a ratio of pixel counts, over thresholds of the attribution scaled to [0,1].

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.4: r > tau (strict),
        int_0^1 d tau. Thresholds are unstated: uniform on [0,1], trapezoid. Scaling is min-max per image over the
        attribution map, negative values included; a constant map becomes all zeros, so it selects nothing at any
        threshold.
    Args:
        part: name of the mask; "label" is the part that decides the label (hair for the paper's task).
        n_thresholds: thresholds, 0 and 1 included.
    Shapes: score gives "value" [B] and "curve" [B,n_thresholds].
    Raises: ValueError when there is no attribution, or no such mask. An empty mask or a non-finite attribution gives
        NaN.
    """

    direction = "higher"
    needs = frozenset({"explanation", "masks"})

    part: str = "label"
    n_thresholds: Annotated[int, Range(low=2)] = 101

    @abstractmethod
    def ratio(self, counts: Overlap) -> Tensor:
        """The curve [B,T]; NaN where undefined."""

    def score(self, case: Case) -> dict[str, Tensor]:
        attribution, masks = self.ensure_given(case.explanation.attribution, "an attribution"), case.batch.masks
        if self.part not in masks:
            raise ValueError(
                f"metric {type(self).__name__} needs the mask part={self.part!r}, images have {sorted(masks)}"
            )
        counts = count_overlap(attribution, masks[self.part], self.n_thresholds)
        undefined = (counts.area == 0) | ~attribution.isfinite().flatten(1).all(1)
        curve = self.ratio(counts).masked_fill(undefined[:, None], math.nan)
        return {"value": mean_over_intervals(curve), "curve": curve.float()}


@dataclass(kw_only=True)
class IoU(MaskOverlap):
    """Intersection over union with the mask, area under the threshold curve.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.4. A map of
        independent U[0,1] values scores a/b - (a/b)^2 ln(1/a), b = 1 - a, on a mask of area a.
    """

    def ratio(self, counts: Overlap) -> Tensor:
        return counts.intersection / (counts.selected + counts.area[:, None] - counts.intersection)


@dataclass(kw_only=True)
class MaskRecall(MaskOverlap):
    """Share of the mask's pixels that the explanation selects, area under the threshold curve: EMR.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.4. Higher is better,
        as its text says; the arrow in its Table 2 points down. A random map scores 0.5.
    """

    def ratio(self, counts: Overlap) -> Tensor:
        return counts.intersection / counts.area[:, None]


@dataclass(kw_only=True)
class MaskPrecision(MaskOverlap):
    """Share of the selected pixels that lie in the mask, area under the threshold curve: EMP.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.4. The value for
        thresholds that select nothing (always at tau = 1) is not stated. A random map scores the mask's area.
    Args: empty: treatment of thresholds that select nothing. "ignore" = the mean is taken over the other intervals (NaN
        when none remain, as for a constant map). "zero" = they count as 0, which lowers the score of peaked maps.
    """

    empty: Literal["ignore", "zero"] = "ignore"

    def ratio(self, counts: Overlap) -> Tensor:
        curve = counts.intersection / counts.selected
        return curve if self.empty == "ignore" else curve.nan_to_num(0)


def count_overlap(attribution: Tensor, mask: Tensor, n_thresholds: int) -> Overlap:
    """Numbers of pixels above each threshold: [B,H,W] and bool [B,H,W] -> Overlap, in one pass over the pixels.

    A pixel's value lies above all thresholds before its position among them, so a histogram of positions, summed from
    the far end, counts the pixels above each.
    """
    value, mask = attribution.flatten(1).double(), mask.flatten(1).double()
    low, high = value.aminmax(dim=1, keepdim=True)
    scaled = torch.where(high > low, (value - low) / (high - low), 0)
    threshold = torch.arange(n_thresholds, device=value.device, dtype=torch.float64) / (n_thresholds - 1)
    position = torch.bucketize(scaled, threshold)  # thresholds strictly below the value

    def above(weight: Tensor) -> Tensor:
        count = weight.new_zeros(len(value), n_thresholds + 1).scatter_add_(1, position, weight)
        return count.flip(1).cumsum(1).flip(1)[:, 1:]

    return Overlap(above(mask), above(torch.ones_like(mask)), mask.sum(1))


def mean_over_intervals(curve: Tensor) -> Tensor:
    """Trapezoid over [0,1] on a uniform grid; intervals with an undefined end are left out of the mean: [B,T] ->
    [B]."""
    return ((curve[:, 1:] + curve[:, :-1]) / 2).nanmean(1)
