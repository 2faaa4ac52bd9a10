"""Localisation: whether the strongest part of an attribution lies on the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pomelo_lab.config.hints import Range
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.threshold import Thresholded, box_iou


@dataclass(kw_only=True)
class Localization(Thresholded):
    """Share of images whose derived box overlaps the object's box by less than half: 1 or 0 per image.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 4.3; Zhou et al. (2016),
        https://arxiv.org/abs/1512.04150. Departures: boxes follow the crop, and the best of several annotated boxes
        counts. An older script of the authors (anguyen8/sam, Chirag_IOU.py) thresholds at the map's resolution,
        measures at the file's size without the crop and uses the last annotated box. Printed errors are therefore not
        reproduced exactly.
    Args:
        part: part with the boxes; label = the region that the label refers to.
        iou: smallest intersection over union that counts as a hit.
    Shapes: score also gives "iou" [B,n_alphas]. NaN for images without a box, and for maps that are not finite.
    Cost: no queries.
    """

    needs = frozenset({"explanation", "boxes"})

    part: str = "label"
    iou: Annotated[float, Range(above=0, high=1)] = 0.5

    def score(self, case: Case) -> dict[str, Tensor]:
        truth = case.batch.box(self.part)[:, None].to(case.explanation.attribution.device)  # [B,1,M,4]
        overlaps = box_iou(self.boxes(case.explanation.attribution)[:, :, None], truth)
        known = truth.isfinite().all(-1).expand(overlaps.shape)
        best = overlaps.masked_fill(~known, -torch.inf).amax(2)  # NaN maps stay NaN
        best = best.masked_fill(~known.any(2), torch.nan)
        return {"candidates": (best < self.iou).double().masked_fill(best.isnan(), torch.nan), "iou": best}
