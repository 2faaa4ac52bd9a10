"""Sensitivity: similarity of explanations under different hyper-parameters or seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, Positive, Range
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric, Summary
from pomelo_lab.metric.map_similarity import across, by_magnitude, correlations, other_images, pairwise, spearman, unit


@dataclass(kw_only=True)
class Sensitivity(Metric):
    """Mean similarity of all pairs of an image's explanations, one per setting of a config key; higher = less
    sensitive.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 4.4 and Table S1 (patch sizes of SP,
        seeds of LIME, mask sizes of MP2), "following" Bansal et al. (2020), https://arxiv.org/abs/2003.08754, whose
        code (anguyen8/sam, Sensitivity_Analysis_Basic.py) compares maps of SP and MP as they are and LIME's divided by
        their largest magnitude, with data_range 2 (MP: 1) and windows of 5 pixels: scaling, data_range and win_size.
        scikit-image and scipy do the measuring. Departures at the defaults: maps are scaled to [0,1] image by image,
        since an SSIM against a fixed range calls all small maps alike; orientations and blocks of the HOG are ours.
    Args:
        key: dotted config key that varies, e.g. seed, explainer.patch_px, segmenter.n_segments.
        settings: its values, two or more.
        similarity: "ssim", "hog" (Pearson correlation of histograms of oriented gradients) or "spearman" (rank
            correlation of pixels).
        orientations: number of directions in a histogram.
        cell_px: side of a histogram's cell.
        block_cells: side of the blocks that are normalised, in cells.
        scaling: of each map before it is compared: "unit" to [0,1], "max_abs" divides by its largest magnitude, "none".
        win_size: side of the SSIM's window, odd.
        data_range: range of values that the SSIM assumes.
        compared: "settings", or "other_image": the second map of each pair comes from another image (the one before it
            in its stored group; for the first image the second; NaN for a single image). This null is the similarity
            of maps that share nothing.
    Shapes: score gives "value" [B] and "pairs" [B,P]. A pair with a constant (or not finite) map is NaN and left out
        of an image's mean. The summary's details hold "within", the root of the mean variance of an image's pairs,
        which may be the spread that the paper prints.
    Cost: an explanation per setting; those of the job's own setting are shared with it.
    """

    direction: ClassVar = "higher"
    needs = frozenset({"explanations"})

    key: str
    settings: list[Any]
    similarity: Literal["ssim", "hog", "spearman"] = "ssim"
    orientations: Count = 9
    cell_px: Count = 16
    block_cells: Count = 3
    scaling: Literal["unit", "max_abs", "none"] = "unit"
    win_size: Annotated[int, Range(low=3)] = 7
    data_range: Positive = 1.0
    compared: Literal["settings", "other_image"] = "settings"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports fewer than two settings, or an even window."""
        if len(given["settings"]) < 2:
            yield f"settings must hold two values of {given['key']} or more, got {given['settings']}"
        if given["win_size"] % 2 == 0:
            yield f"win_size must be odd, got {given['win_size']}"

    def overrides(self) -> list[dict[str, Any]]:
        return [{self.key: setting} for setting in self.settings]

    def partners(self, n: int) -> list[int] | None:
        return other_images(n) if self.compared == "other_image" else None

    def score(self, case: Case) -> dict[str, Tensor]:
        maps = [self.ensure_given(explanation.attribution, "attributions") for explanation in case.explanations]
        side = self.cell_px * self.block_cells
        if self.similarity == "hog" and min(maps[0].shape[1:]) < side:
            raise ValueError(
                f"metric Sensitivity: cell_px * block_cells must be <= {min(maps[0].shape[1:])}, the side of the maps, "
                f"got {side}: set cell_px"
            )
        scale = {"unit": unit, "max_abs": by_magnitude, "none": Tensor.double}[self.scaling]
        scaled = torch.stack([scale(image_map) for image_map in maps], 1).cpu()  # [B,S,H,W]
        alike = {"ssim": self.ssim, "hog": self.hog, "spearman": spearman}[self.similarity]
        others = self.partners(len(scaled))
        if others is None:
            pairs = torch.stack([pairwise(image_maps, alike) for image_maps in scaled])
        else:
            pairs = torch.stack([across(scaled[b], scaled[other], alike) for b, other in enumerate(others)])
            pairs = pairs.masked_fill(torch.tensor(len(scaled) == 1), torch.nan)
        return {"value": pairs.nanmean(1).to(maps[0].device), "pairs": pairs.to(maps[0].device)}

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        pairs = rows["pairs"].double()
        known = pairs[pairs.isfinite().all(1)]
        within = float(known.var(1).mean().sqrt()) if len(known) and pairs.shape[1] > 1 else math.nan
        return replace(super().summarize(rows, reference), details={"within": within})

    def ssim(self, maps: Tensor) -> list[float]:
        """scikit-image's structural similarity of all pairs."""
        from skimage.metrics import structural_similarity

        arrays = maps.numpy()
        settings = {"win_size": self.win_size, "data_range": self.data_range}
        return [float(structural_similarity(a, b, **settings)) for a, b in combinations(arrays, 2)]

    def hog(self, maps: Tensor) -> list[Any]:
        """Pearson correlation of HOG features, from [S,H,W]."""
        from skimage.feature import hog

        blocks = {"pixels_per_cell": (self.cell_px,) * 2, "cells_per_block": (self.block_cells,) * 2}
        features = torch.stack(
            [torch.from_numpy(hog(image_map.numpy(), orientations=self.orientations, **blocks)) for image_map in maps]
        )
        return correlations(features)
