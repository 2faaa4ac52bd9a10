"""Shape of a map, independent of the image: sparse, blurred or cluttered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric


@dataclass(kw_only=True)
class Sparseness(Metric):
    """Gini index of a map's magnitudes: 0 = the same everywhere, near 1 = all in one pixel.

    Source: Chalasani et al. (2020), https://arxiv.org/abs/1810.06583, section 2. Departures: none.
    Shapes: score gives "value" [B]; NaN for maps that are zero or not finite.
    Cost: no queries.
    """

    direction: ClassVar = None
    needs = frozenset({"explanation"})

    def score(self, case: Case) -> dict[str, Tensor]:
        size = case.explanation.attribution.double().abs().flatten(1).sort(1).values
        n = size.shape[1]
        rank = torch.arange(1, n + 1, dtype=torch.float64, device=size.device)
        total = size.sum(1)
        value = 1 - 2 * (size * (n - rank + 0.5)).sum(1) / (n * total)
        return {"value": value.masked_fill(~(total > 0) | ~total.isfinite(), torch.nan)}


@dataclass(kw_only=True)
class Roughness(Metric):
    """Mean difference of neighbouring pixels over the mean difference of any two pixels: near 0 = blurred, 1 =
    neighbours differ as much as any two pixels.

    The second mean is Gini's. Shifts and positive factors of the map do not change the value, and a map of shuffled
    pixels scores about 1.

    Source: own; the reading of "blurred" and "cluttered" in "Fisher Divergence for Attribution", appendix C, which has
        no numbers.
    Shapes: score gives "value" [B]; NaN for maps that are constant or not finite.
    Cost: no queries.
    """

    direction: ClassVar = None
    needs = frozenset({"explanation"})

    def score(self, case: Case) -> dict[str, Tensor]:
        maps = case.explanation.attribution.double()
        steps = torch.cat([maps.diff(dim=1).flatten(1), maps.diff(dim=2).flatten(1)], 1).abs().mean(1)
        ordered = maps.flatten(1).sort(1).values
        n = ordered.shape[1]
        weight = 2 * torch.arange(1, n + 1, dtype=torch.float64, device=maps.device) - n - 1
        strangers = 2 * (ordered * weight).sum(1) / (n * (n - 1))  # mean of |a - b| over all pairs
        return {"value": (steps / strangers).masked_fill(~(strangers > 0), torch.nan)}
