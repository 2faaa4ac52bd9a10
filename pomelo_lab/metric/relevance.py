"""Share of a map in an annotated region: its mass, its highest pixels, its peak."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.config.hints import Natural
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric


@dataclass(kw_only=True)
class Relevance(Metric, ABC):
    """Share of a map inside a part's mask, in [0,1].

    Args: part: mask of the data set; label = the region that the label refers to.
    """

    direction: ClassVar = "higher"
    needs = frozenset({"explanation", "masks"})

    part: str = "label"

    def inside(self, case: Case) -> tuple[Tensor, Tensor]:
        """The maps, float64 [B,D], and the mask, bool [B,D]; maps that are not finite become NaN everywhere."""
        maps = case.explanation.attribution.flatten(1).double()
        maps = maps.masked_fill(~maps.isfinite().all(1, keepdim=True), torch.nan)
        return maps, case.batch.masks[self.part].to(maps.device).flatten(1)


@dataclass(kw_only=True)
class RelevanceMass(Relevance):
    """Sum of the map inside the mask over the sum of the whole map.

    Source: Arras et al. (2022), https://arxiv.org/abs/2003.07258; Quantus. Departures: by default of the positive part,
        which keeps it a share.
    Args: of: "positive" part, "absolute" values, or "signed" as Quantus has it.
    Shapes: score gives "value" [B]; NaN for maps without mass.
    Cost: no queries.
    """

    of: Literal["positive", "absolute", "signed"] = "positive"

    def score(self, case: Case) -> dict[str, Tensor]:
        maps, mask = self.inside(case)
        maps = {"positive": maps.clamp_min(0), "absolute": maps.abs(), "signed": maps}[self.of]
        mass = (maps * mask).sum(1) / maps.sum(1)
        return {"value": mass.masked_fill(~mass.isfinite(), torch.nan)}


@dataclass(kw_only=True)
class RelevanceRank(Relevance):
    """Share of the k highest pixels that lie in the mask, where k is the number of pixels of the mask.

    Source: Arras et al. (2022), https://arxiv.org/abs/2003.07258; Quantus. Departures: pixels that are equal at the
        k-th rank count partially, so that the reading order has no effect. A constant map scores the mask's share of
        the image.
    Shapes: score gives "value" [B]; NaN for empty masks.
    Cost: no queries.
    """

    def score(self, case: Case) -> dict[str, Tensor]:
        maps, mask = self.inside(case)
        size = mask.sum(1)
        edge = maps.sort(dim=1, descending=True).values.gather(1, (size - 1).clamp_min(0)[:, None])
        above, equal = maps > edge, maps == edge
        share = (size - above.sum(1)) / equal.sum(1)  # of the equal pixels that belong to the k highest
        accuracy = ((above & mask).sum(1) + share * (equal & mask).sum(1)) / size
        return {"value": accuracy.masked_fill(maps.isnan().any(1) | (size == 0), torch.nan)}


@dataclass(kw_only=True)
class PointingGame(Relevance):
    """Whether the highest pixel lies in the mask.

    Source: Zhang et al. (2018), https://arxiv.org/abs/1608.00507 (tolerance of 15 pixels on photographs); Quantus.
        Departures: with several highest pixels the value is the share that hits.
    Args: tolerance_px: distance from the mask that still counts as a hit, along either axis.
    Shapes: score gives "value" [B]; NaN for empty masks.
    Cost: no queries.
    """

    tolerance_px: Natural = 0

    def score(self, case: Case) -> dict[str, Tensor]:
        maps, mask = self.inside(case)
        empty = ~mask.any(1)
        if self.tolerance_px:
            wide = mask.view_as(case.batch.masks[self.part]).float()[:, None]
            mask = F.max_pool2d(wide, 2 * self.tolerance_px + 1, 1, self.tolerance_px)[:, 0].flatten(1) > 0
        top = maps == maps.amax(1, keepdim=True)
        hits = (top & mask).sum(1) / top.sum(1)
        return {"value": hits.double().masked_fill(maps.isnan().any(1) | empty, torch.nan)}
