"""Change of the answer when a filler replaces pixels outside the object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.batching import index_pairs
from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.pixel_game import ask, fill_steps
from pomelo_lab.sampler.base import Filler


@dataclass(kw_only=True)
class OutsideChange(Metric):
    """Mean change of the target's probability when a patch that does not touch the object's boxes is filled.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 5.1 (53 of 224 pixels; 0.09 in gray, 0.04
        in-painted). Departures: none.
    Args:
        sampler: the filler; by default the job's sampler.
        patch_px: side of the square patch.
        stride_px: distance between neighbouring patches.
        part: the annotated part that patches must not touch; label = what the label is about.
        signed: mean of p(image) - p(filled) instead of its absolute value.
    Shapes: score gives "value" [B] (NaN where every patch touches the object, or there is no box), and for figures
        "answer" [B,P], the probability with each patch, "outside" [B,P], whether it counts, and "clean" [B], the
        probability of the unchanged image.
    Cost: one query and one fill per patch.
    Random: the filler draws from streams named "outside".
    """

    direction = "lower"
    needs = frozenset({"boxes", "classifier"})
    random = True

    sampler: Filler
    patch_px: Count = 53
    stride_px: Count = 3
    part: str = "label"
    signed: bool = False

    def score(self, case: Case) -> dict[str, Tensor]:
        image, n = case.batch.image, len(case.batch)
        top, left = (axis.to(image.device) for axis in self.corners(tuple(image.shape[1:])))
        patch = torch.stack([left, top, left + self.patch_px, top + self.patch_px], -1)  # [P,4]
        truth = case.batch.box(self.part).to(image.device)[:, None]  # [B,1,M,4]
        apart = (patch[:, None, 2:] <= truth[..., :2]).any(-1) | (patch[:, None, :2] >= truth[..., 2:]).any(-1)
        known = truth.isfinite().all(-1)
        outside = (apart | ~known).all(2) & known.any(2)
        filling = self.sampler.filling(image, case.streams.named("outside"), case.batch.image_id, case.segments)
        y, x = (torch.arange(size, device=image.device) for size in image.shape[2:])

        def covered(row: Tensor, index: Tensor) -> Tensor:
            left, top, right, bottom = patch[index, :, None].unbind(1)  # [M,1]
            down, across = (y >= top) & (y < bottom), (x >= left) & (x < right)
            return down[:, :, None] & across[:, None]

        row, index = index_pairs(n, len(patch), image.device)
        answer = ask(case.classifier, fill_steps(filling, covered), row, index, case.target).view(n, -1)
        clean = case.classifier.probability_of(lambda start, stop: image[start:stop], n, case.target).double()
        change = clean[:, None] - answer
        change = (change if self.signed else change.abs()).masked_fill(~outside, 0)
        # 0 / 0 is NaN
        return {
            "value": change.sum(1) / outside.sum(1),
            "answer": answer.float(),
            "outside": outside,
            "clean": clean.float(),
        }

    def corners(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """The (top, left) corners of all patches, row by row: int64 [P] each."""
        if self.patch_px > min(shape[1:]):
            raise ValueError(
                f"metric OutsideChange: patch_px must be <= {min(shape[1:])}, the side of the images, got "
                f"{self.patch_px}"
            )
        starts = [torch.arange(0, size - self.patch_px + 1, self.stride_px) for size in shape[1:]]
        top, left = torch.meshgrid(*starts, indexing="ij")
        return top.flatten(), left.flatten()

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        n = len(self.corners(shape)[0])
        return Cost(queries=1 + n) + self.sampler.fill_cost(n)
