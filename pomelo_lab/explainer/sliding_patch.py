"""Sliding patch: the drop of the target's probability where a patch covers the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import index_pairs
from pomelo_lab.config.hints import Count
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.removal import RemovalExplainer
from pomelo_lab.explainer.windows import Windows, covering_starts
from pomelo_lab.runtime.originals import Originals
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class SlidingPatchExplainer(RemovalExplainer):
    """SP: the drop of the target's probability when a filler replaces a square patch. With an in-painting filler the
    method is SP-G.

    Source: Zeiler & Fergus (2014), https://arxiv.org/abs/1311.2901; Agarwal & Nguyen (2020), "Explaining image
        classifiers by removing input features using generative models", https://arxiv.org/abs/1910.04256, section 3.3
        (29 pixels every 3, at 224). Departures: none.
    Args:
        patch_px: side of the patch.
        stride_px: distance between neighbouring patches.
        align: conversion of the grid of values to a map. "stretch": the grid is enlarged to the image (the paper and
            its code); towards the borders, where no patch has its centre, values are misplaced. "center": every value
            lies at the centre of its patch, with interpolation between centres. "cover": a pixel gets the mean over the
            patches that cover it, with the last patches cut off at the border (captum's Occlusion).
    Shapes: extra "grid" [B,rows,columns], the drops.
    Cost: one query and one fill per position of the patch (66 x 66 in the paper), and one query for the image.
    Random: the filler's draws.
    Raises: ValueError when the patch is larger than the image.
    """

    patch_px: Count = 29
    stride_px: Count = 3
    align: Literal["stretch", "center", "cover"] = "stretch"

    def explain(self, case: Case) -> Explanation:
        image, target, classifier = case.batch.image, case.target, case.classifier
        tops, lefts = (self.places(size).to(image.device) for size in image.shape[-2:])
        patches = Windows(tops, lefts, self.patch_px, tuple(image.shape[-2:]))
        filling = case.filling(self.sampler)
        row, index = index_pairs(len(image), patches.n, image.device)

        def covered(start: int, stop: int) -> Tensor:
            patch = index[start:stop]
            return filling(row[start:stop], patches.keep_mask(patch).to(image), patch)

        clean = classifier.probability_of(lambda start, stop: image[start:stop], len(image), target)
        gone = classifier.probability_of(covered, len(row), target[row], Originals(image, row)).view(len(image), -1)
        grid = (clean[:, None] - gone).view(len(image), len(tops), len(lefts))
        return Explanation(target=target, attribution=self.spread(grid, patches).float(), extra={"grid": grid})

    def places(self, size: int) -> Tensor:
        """The first pixels of all patches along an axis: int64."""
        if self.patch_px > size:
            raise ValueError(f"explainer.patch_px must be <= {size}, the side of the images, got {self.patch_px}")
        if self.align == "cover":
            return covering_starts(size, self.patch_px, self.stride_px)
        return torch.arange(0, size - self.patch_px + 1, self.stride_px)

    def spread(self, grid: Tensor, patches: Windows) -> Tensor:
        """Converts the grid to a map: [B,rows,columns] -> [B,H,W]."""
        if self.align == "stretch":
            return F.interpolate(grid[:, None], patches.shape, mode="bilinear", align_corners=False)[:, 0]
        if self.align == "cover":
            return patches.mean_covering(grid)
        starts = zip((patches.top, patches.left), patches.pixels(), strict=True)
        rows, columns = (self.weights(first, pixel).to(grid) for first, pixel in starts)
        return rows @ grid @ columns.mT

    def weights(self, starts: Tensor, pixel: Tensor) -> Tensor:
        """The weight of each of n patch positions for each pixel of an axis: float64 [size,n], rows sum to 1."""
        center = starts + (self.patch_px - 1) / 2
        # constant beyond the outermost centres
        nearest = pixel.to(torch.float64).clamp(float(center[0]), float(center[-1]))[:, None]
        return (1 - (nearest - center).abs() / self.stride_px).clamp_min(0)

    def fills(self, shape: tuple[int, int, int]) -> int:
        return len(self.places(shape[1])) * len(self.places(shape[2]))
