"""Draws attributions over their images."""

from __future__ import annotations

import torch
from torch import Tensor


def scale_maps(attribution: Tensor, clip: float = 1.0) -> Tensor:
    """Divides each map by its largest magnitude, or by a quantile of its magnitudes: [B,H,W] -> [-1,1]. A zero map
    stays zero.

    A map that is positive everywhere and not constant (RISE) is shifted to start at 0, because only its differences
    carry information.
    """
    low, high = attribution.flatten(1).aminmax(dim=1)
    attribution = attribution - torch.where(low < high, low.clamp_min(0), 0.0)[:, None, None]
    peak = attribution.flatten(1).abs().quantile(clip, dim=1) if clip < 1 else attribution.flatten(1).abs().amax(1)
    peak = torch.where(peak > 0, peak, attribution.flatten(1).abs().amax(1))[:, None, None]  # 0 if mostly zero
    return torch.where(peak > 0, attribution / peak.clamp_min(torch.finfo(attribution.dtype).tiny), 0.0).clamp(-1, 1)


def overlay(image: Tensor, attribution: Tensor, strength: float = 0.65, clip: float = 1.0) -> Tensor:
    """Colours a gray version of the image: red supports the target, blue opposes it.

    Shapes: image [B,C,H,W] in [0,1], attribution [B,H,W] -> [B,3,H,W] in [0,1].
    """
    from matplotlib import colormaps

    values = scale_maps(attribution, clip)
    colour = torch.from_numpy(colormaps["RdBu_r"]((values.numpy() + 1) / 2)[..., :3]).float().permute(0, 3, 1, 2)
    gray = image.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    weight = strength * values.abs()[:, None].sqrt()
    return (gray * (1 - weight) + colour * weight).clamp(0, 1)
