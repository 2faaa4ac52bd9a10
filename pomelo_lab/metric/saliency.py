"""The saliency metric: the size of a box, and the classifier's confidence in its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.config.hints import Range
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.threshold import Thresholded, area

SMALLEST = 1e-12  # least probability, so that the logarithm exists


@dataclass(kw_only=True)
class Saliency(Thresholded):
    """log(max(a, smallest_area)) - log(p). a is the box's share of the image, and p is the target's probability for the
    box enlarged to the size of the image.

    Source: Dabkowski & Gal (2017), https://arxiv.org/abs/1705.07857, section 2.1; Agarwal & Nguyen (2020),
        https://arxiv.org/abs/1910.04256, section 4.3. Departures: none. Natural logarithm.
    Args:
        smallest_area: smaller shares count as this one.
    Cost: one query per distinct box, at most n_alphas per image.
    """

    needs = frozenset({"explanation", "classifier"})

    smallest_area: Annotated[float, Range(above=0, high=1)] = 0.05

    def score(self, case: Case) -> dict[str, Tensor]:
        image = case.batch.image
        box = self.boxes(case.explanation.attribution).to(image.device)  # [B,A,4]
        defined = box.isfinite().all(2)
        row = torch.arange(len(image), device=image.device)[:, None].expand(defined.shape)
        asked = torch.cat([row[..., None].to(box), box], 2)[defined]  # [M,5]
        distinct, position = asked.unique(dim=0, return_inverse=True)
        rows = distinct[:, 0].long()

        def crops(start: int, stop: int) -> Tensor:
            boxes = distinct[start:stop, 1:].long().tolist()
            return torch.cat(
                [enlarged(image[i], crop_box) for i, crop_box in zip(rows[start:stop].tolist(), boxes, strict=True)]
            )

        answer = case.classifier.probability_of(crops, len(distinct), case.target[rows]).to(image.device).double()
        candidates = torch.full(defined.shape, torch.nan, dtype=torch.float64, device=image.device)
        share = (area(asked[:, 1:]) / (image.shape[2] * image.shape[3])).double()
        candidates[defined] = share.clamp_min(self.smallest_area).log() - answer[position].clamp_min(SMALLEST).log()
        return {"candidates": candidates}

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return Cost(queries=len(self.alphas), at_most=True)


def enlarged(image: Tensor, box: list[int]) -> Tensor:
    """The pixels of a box, bilinearly resized to the whole image: [C,H,W] -> [1,C,H,W]."""
    left, top, right, bottom = box
    return F.interpolate(image[None, :, top:bottom, left:right], image.shape[1:], mode="bilinear", align_corners=False)
