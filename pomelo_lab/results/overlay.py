"""Draws attributions over their images."""

from __future__ import annotations

import torch
from torch import Tensor

BLUE_TO_RED = "053061 2166AC 4393C3 92C5DE D1E5F0 F7F7F7 FDDBC7 F4A582 D6604D B2182B 67001F".split()


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


def red_blue(values: Tensor) -> Tensor:
    """The colours of values in [-1,1]: blue, white, red, the map RdBu of ColorBrewer (https://colorbrewer2.org) in 256
    steps as `RdBu_r` of matplotlib, whose import takes longer than a picture.

    Shapes: [...] -> [...,3] in [0,1].
    """
    anchors = torch.tensor([list(bytes.fromhex(colour)) for colour in BLUE_TO_RED], dtype=torch.float64) / 255
    place = torch.linspace(0, len(anchors) - 1, 256, dtype=torch.float64)
    low = place.long().clamp(max=len(anchors) - 2)
    steps = torch.lerp(anchors[low], anchors[low + 1], (place - low)[:, None])
    return steps[((values + 1) / 2 * 256).long().clamp(0, 255)].float()


def colour_map(attribution: Tensor, clip: float = 1.0, colors: str = "RdBu_r") -> Tensor:
    """The colours of maps, each on a scale of its own around 0: [B,H,W] -> [B,3,H,W] in [0,1].

    Args:
        clip: quantile of a map's magnitudes that gets the full colour.
        colors: name of a colour map of matplotlib.
    """
    values = scale_maps(attribution, clip)
    if colors == "RdBu_r":
        return red_blue(values).permute(0, 3, 1, 2)
    from matplotlib import colormaps

    return torch.from_numpy(colormaps[colors]((values.numpy() + 1) / 2)[..., :3]).float().permute(0, 3, 1, 2)


def overlay(
    image: Tensor, attribution: Tensor, strength: float = 0.65, clip: float = 1.0, colors: str = "RdBu_r"
) -> Tensor:
    """Colours a gray version of the image: by default red supports the target, blue opposes it.

    Args: strength: opacity where a map is largest; clip, colors: as for `colour_map`.
    Shapes: image [B,C,H,W] in [0,1], attribution [B,H,W] -> [B,3,H,W] in [0,1].
    """
    gray = image.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    weight = strength * scale_maps(attribution, clip).abs()[:, None].sqrt()
    return (gray * (1 - weight) + colour_map(attribution, clip, colors) * weight).clamp(0, 1)
