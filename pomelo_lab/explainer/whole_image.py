"""The same attribution everywhere: the control of localisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments


@dataclass(kw_only=True)
class WholeImageExplainer(Explainer):
    """1 at every pixel, so that every box derived from it is the whole image.

    Source: Agarwal & Nguyen (2020), Table 2, row "baseline". Departures: none.
    Cost: no queries.
    """

    gives = frozenset({"attribution"})
    signed: ClassVar[bool] = False

    def explain(
        self,
        batch: Batch,
        target: Tensor,
        classifier: BlackBox,
        streams: RandomStreams,
        segments: Segments | None = None,
        perturbations: Perturbations | None = None,
    ) -> Explanation:
        return Explanation(target=target, attribution=batch.image.new_ones(len(batch), *batch.image.shape[2:]))
