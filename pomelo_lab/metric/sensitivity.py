"""Sensitivity: how alike explanations are that were made with other hyper-parameters or seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count
from pomelo_lab.metric.base import Metric
from pomelo_lab.types import Case

SYMBOLS = {"ssim": "SSIM", "hog": "HOG", "spearman": "Spearman"}


@dataclass(kw_only=True)
class Sensitivity(Metric):
    """Mean similarity of all pairs of an image's explanations, one per setting of a config key; higher = less sensitive.

    Source: paper 001, section 4.4 and Table S1 (patch sizes of SP, seeds of LIME, mask sizes of MP2); Bansal et al. (2020). scikit-image and
        scipy do the measuring. Departures: maps are first scaled to [0,1], image by image, and the HOG settings are ours: the paper states neither.
    Args:
        key: dotted config key that varies, e.g. seed, explainer.patch_px, segmenter.n_segments.
        settings: its values, two or more.
        similarity: "ssim" (window of 7 pixels, range 1), "hog" (Pearson correlation of histograms of oriented gradients) or "spearman" (rank
            correlation of pixels).
        orientations, cell_px, block_cells: of the histograms.
    Shapes: score gives "value" [B] and "pairs" [B,P]. A pair with a constant (or not finite) map is NaN and left out of an image's mean.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self.symbol = SYMBOLS[self.similarity]

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Nothing to compare."""
        if len(given["settings"]) < 2:
            yield f"settings must hold two values of {given['key']} or more, got {given['settings']}"

    def overrides(self) -> list[dict[str, Any]]:
        return [{self.key: setting} for setting in self.settings]

    def score(self, case: Case) -> dict[str, Tensor]:
        maps = [one.attribution for one in case.explanations]
        if any(one is None for one in maps):
            raise ValueError("metric Sensitivity compares attributions, and the explainer gives none")
        side = self.cell_px * self.block_cells
        if self.similarity == "hog" and min(maps[0].shape[1:]) < side:
            raise ValueError(
                f"metric Sensitivity: cell_px * block_cells must be <= {min(maps[0].shape[1:])}, the side of the maps, got {side}: set cell_px"
            )
        scaled = torch.stack([unit(one) for one in maps], 1).cpu()  # [B,S,H,W]
        alike = {"ssim": ssim, "hog": self.hog, "spearman": spearman}[self.similarity]
        pairs = torch.stack([pairwise(one, alike) for one in scaled]).to(maps[0].device)
        return {"value": pairs.nanmean(1), "pairs": pairs}

    def hog(self, maps: Tensor) -> list[Any]:
        """Pearson correlation of HOG features, from [S,H,W]."""
        from skimage.feature import hog

        blocks = {"pixels_per_cell": (self.cell_px,) * 2, "cells_per_block": (self.block_cells,) * 2}
        features = torch.stack([torch.from_numpy(hog(one.numpy(), orientations=self.orientations, **blocks)) for one in maps])
        return correlations(features)


def pairwise(maps: Tensor, alike: Callable[[Tensor], list[float]]) -> Tensor:
    """Similarities of all pairs of maps [S,H,W], NaN where a map is constant or not finite: [P]."""
    flat = maps.flatten(1)
    defined = flat.isfinite().all(1) & (flat.amax(1) > flat.amin(1))
    found = torch.tensor(alike(maps.where(defined[:, None, None], 0)), dtype=torch.float64)
    both = torch.tensor([bool(defined[i] & defined[j]) for i, j in combinations(range(len(maps)), 2)])
    return found.masked_fill(~both, torch.nan)


def unit(maps: Tensor) -> Tensor:
    """Each map [B,H,W] to [0,1], in float64; constant maps become 0."""
    flat = maps.double().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low).where(high > low, torch.ones_like(high))).view(maps.shape)


def ssim(maps: Tensor) -> list[float]:
    """scikit-image's structural similarity of all pairs."""
    from skimage.metrics import structural_similarity

    arrays = maps.numpy()
    return [float(structural_similarity(a, b, data_range=1.0)) for a, b in combinations(arrays, 2)]


def spearman(maps: Tensor) -> list[float]:
    """Rank correlations of all pairs: Pearson's of scipy's average ranks."""
    from scipy.stats import rankdata

    return correlations(torch.from_numpy(rankdata(maps.flatten(1).numpy(), axis=1)))


def correlations(features: Tensor) -> list[float]:
    """Pearson correlations of all pairs of rows [S,D]; NaN for constant rows."""
    centered = features.double() - features.double().mean(1, keepdim=True)
    unit_rows = centered / torch.linalg.vector_norm(centered, dim=1, keepdim=True)
    whole = unit_rows @ unit_rows.T
    return [float(whole[i, j]) for i, j in combinations(range(len(features)), 2)]
