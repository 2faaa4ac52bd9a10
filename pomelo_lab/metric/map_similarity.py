"""Similarities of attribution maps, as metrics that compare several maps of an image measure them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor


def varies(maps: Tensor) -> Tensor:
    """Whether each map [B,H,W] is finite and not constant: bool [B]."""
    flat = maps.flatten(1)
    return flat.isfinite().all(1) & (flat.amax(1) > flat.amin(1))


def other_images(n: int) -> list[int]:
    """For each of n images the index of another: the previous image, for the first image the second. Similarities of
    their maps are the null hypothesis."""
    return [1 % n, *range(n - 1)]


def pairwise(maps: Tensor, alike: Callable[[Tensor], list[float]]) -> Tensor:
    """Similarities of all pairs of maps [S,H,W], NaN where a map is constant or not finite: [P]."""
    defined = varies(maps)
    similarities = torch.tensor(alike(maps.where(defined[:, None, None], 0)), dtype=torch.float64)
    both = torch.tensor([bool(defined[i] & defined[j]) for i, j in combinations(range(len(maps)), 2)])
    return similarities.masked_fill(~both, torch.nan)


def across(maps: Tensor, others: Tensor, alike: Callable[[Tensor], list[float]]) -> Tensor:
    """Similarities of the maps of two images [S,H,W]: for each pair of settings the second map is that of the other
    image: [P]."""
    pairs = combinations(range(len(maps)), 2)
    return torch.cat([pairwise(torch.stack([maps[i], others[j]]), alike) for i, j in pairs])


def by_magnitude(maps: Tensor) -> Tensor:
    """Divides each map [B,H,W] by its largest magnitude, in float64. Zero maps stay zero."""
    top = maps.double().abs().flatten(1).amax(1)[:, None, None]
    return maps.double() / top.where(top > 0, torch.ones_like(top))


def unit(maps: Tensor) -> Tensor:
    """Scales each map [B,H,W] to [0,1], in float64. Constant maps become 0."""
    flat = maps.double().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low).where(high > low, torch.ones_like(high))).view(maps.shape)


def spearman(maps: Tensor) -> list[float]:
    """Rank correlations of all pairs of maps: Pearson correlations of scipy's average ranks."""
    from scipy.stats import rankdata

    return correlations(torch.from_numpy(rankdata(maps.flatten(1).numpy(), axis=1)))


def correlations(features: Tensor) -> list[float]:
    """Pearson correlations of all pairs of rows [S,D]; NaN for constant rows."""
    centered = features.double() - features.double().mean(1, keepdim=True)
    unit_rows = centered / torch.linalg.vector_norm(centered, dim=1, keepdim=True)
    whole = unit_rows @ unit_rows.T
    return [float(whole[i, j]) for i, j in combinations(range(len(features)), 2)]
