"""The effective heat ratio: the share of an attribution in an annotated region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.config.hints import Fraction, Range
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.map_export import Export, export_maps


@dataclass(kw_only=True)
class EffectiveHeatRatio(Metric):
    """Share of an attribution's heat that lies in the annotated region, averaged over quantiles of the heat.

    Source: Zhang et al. (2021), https://arxiv.org/abs/2110.01888, and its code; anonymous authors, "Fisher Divergence
        for Attribution" (undated), https://openreview.net/forum?id=eHIc7SL0sr, section 4.3. Among the pixels with a
        heat of at least `floor`, those above quantile q are selected. The ratio is the sum of their heat in the region
        (weighted), or their number in the region, over the number selected. Its area over q is the score. The weighted
        score is not a share: a map with heat 0.5 everywhere in the region and 0 elsewhere scores 0.5. Departures: maps
        are scaled first (the code expects values in [0,1] or 8 bits, and does not say how maps get this scale).
    Args:
        part: mask of the data set; label = the region that the label refers to.
        weighted: sum heat instead of counting pixels.
        n_quantiles: number of quantiles, from 0 to 1.
        floor: pixels with less heat are omitted.
        scale: "max" divides maps by their maximum, and negative heat counts as none. "quantile" divides by the 99 %
            quantile, and heat above it counts as 1, so that single peaks do not dominate. "minmax" maps the least value
            to 0 and the largest to 1, as an export to an image does, so that maps without positive values count too.
            "none" leaves maps unchanged.
        export: "uint8" scores the map as the baseline script of that code saves it; to be used with scale=none.
        largest_area: images whose region is a larger share of the image do not count (the code: 0.33).
        least_probability: images whose target is less probable do not count (the code: 0.6).
    Shapes: score gives "value" [B] and "ratio" [B,n_quantiles]. NaN for empty regions, for images that do not count,
        and for maps that are not finite; 0 for maps without heat.
    Cost: no queries; one where least_probability > 0.
    """

    direction: ClassVar = "higher"
    needs = frozenset({"explanation", "masks"})

    part: str = "label"
    weighted: bool = True
    n_quantiles: Annotated[int, Range(low=2)] = 11
    floor: Fraction = 0.1
    scale: Literal["max", "quantile", "minmax", "none"] = "max"
    export: Export = "none"
    largest_area: Annotated[float, Range(above=0, high=1)] = 1.0
    least_probability: Fraction = 0.0

    @classmethod
    def needs_for(cls, given: Mapping[str, Any]) -> frozenset[str]:
        return cls.needs | ({"classifier"} if given["least_probability"] else set())

    def score(self, case: Case) -> dict[str, Tensor]:
        maps = export_maps(case.explanation.attribution, self.export, case.batch.image.shape[1]).double()
        mask = case.batch.masks[self.part].to(maps.device)
        counted = (
            mask.flatten(1).any(1)
            & (mask.double().mean((1, 2)) <= self.largest_area)
            & maps.isfinite().flatten(1).all(1)
        )
        if self.least_probability:
            sure = case.classifier.probability(case.batch.image).gather(
                1, case.target[:, None].to(case.classifier.device)
            )[:, 0]
            counted &= sure.to(counted.device) >= self.least_probability
        ratio = torch.stack(
            [self.ratios(heatmap, region) for heatmap, region in zip(maps.nan_to_num(), mask, strict=True)]
        )
        ratio = ratio.masked_fill(~counted[:, None], torch.nan)
        return {"value": torch.trapezoid(ratio, dx=1 / (self.n_quantiles - 1), dim=1), "ratio": ratio}

    def scale_map(self, heat: Tensor) -> Tensor:
        """One map [H,W] scaled to [0,1], or unchanged with scale=none."""
        if self.scale == "none":
            return heat
        heat = heat - heat.amin() if self.scale == "minmax" else heat.clamp_min(0)
        top = heat.quantile(0.99) if self.scale == "quantile" else heat.amax()
        top = top if top > 0 else heat.amax()  # fewer hot pixels than 1 %
        return (heat / top.clamp_min(torch.finfo(heat.dtype).tiny)).clamp_max(1)

    def ratios(self, heat: Tensor, region: Tensor) -> Tensor:
        """The ratio of one map [H,W] and its region at each quantile: [n_quantiles]."""
        heat = self.scale_map(heat)
        heat = heat.where(heat >= self.floor, 0).flatten()
        hot = heat[heat > 0]
        if not len(hot):
            return heat.new_zeros(self.n_quantiles)
        share = torch.linspace(0, 1, self.n_quantiles, dtype=heat.dtype, device=heat.device)
        threshold = hot.quantile(share).clamp_max(0.99 * hot.amax())
        selected = heat >= threshold[:, None]
        inside = selected & region.flatten()
        return (heat * inside if self.weighted else inside.double()).sum(1) / selected.sum(1)
