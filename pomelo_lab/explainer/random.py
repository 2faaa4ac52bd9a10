"""Random attributions: the control that every explainer has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class RandomExplainer(Explainer):
    """An independent U[0,1) attribution for each segment or pixel.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, Table 2, row "random".
        Departures: none.
    Args: level: "segment" (one value per segment) or "pixel".
    Shapes: extra "coefficient" [B,S] (0 beyond an image's own segments) and "n_segments" [B], at level "segment".
    Cost: no queries.
    Random: one draw per image ("random_attribution"), of its own segment count: independent of its neighbours.
    Raises: ValueError when level is "segment" and there are no segments.
    """

    gives = frozenset({"attribution", "coefficient"})
    needs = frozenset({"segments"})

    level: Literal["segment", "pixel"] = "segment"

    @classmethod
    def gives_for(cls, given: Mapping[str, Any]) -> frozenset[str]:
        return cls.gives if given["level"] == "segment" else cls.gives - {"coefficient"}

    def explain(self, case: Case) -> Explanation:
        batch, streams, segments, device = case.batch, case.streams, case.segments, case.batch.image.device
        if self.level == "pixel":
            drawn = streams.uniform(batch.image_id, "random_attribution", *batch.image.shape[2:])
            return Explanation(target=case.target, attribution=drawn.to(device))
        if segments is None:
            raise ValueError("explainer=random with explainer.level=segment needs segments, got None")
        coefficient = torch.zeros(len(batch), segments.largest)
        for row, image_id, count in zip(coefficient, batch.image_id, segments.count.tolist(), strict=True):
            row[:count] = streams.uniform([image_id], "random_attribution", count)[0]
        coefficient = coefficient.to(device)
        attribution = segments.spread(coefficient[:, None])[:, 0]
        return Explanation(
            target=case.target,
            attribution=attribution,
            extra={"coefficient": coefficient, "n_segments": segments.count},
        )
