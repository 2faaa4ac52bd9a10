"""Max-sensitivity: the change of a map under small changes of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.classifier.base import Classifier
from pomelo_lab.config.hints import Count, Positive
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric


@dataclass(kw_only=True)
class MaxSensitivity(Metric):
    """The largest relative change of the map among random neighbours of the image: max ||a(x') - a(x)|| / ||a(x)||,
    Frobenius norms.

    Source: Yeh et al. (2019), https://arxiv.org/abs/1901.09392; Quantus. Departures: neighbours are clamped to [0,1]
        by default; the explainer's random numbers are those of the stored map, so that only the image changes.
    Args:
        n_neighbours: random neighbours (Quantus: 200).
        radius: each pixel and channel moves by a uniform number in [-radius, radius].
        clamp: keep neighbours in [0,1].
    Shapes: score gives "value" [B] and "changes" [B,n_neighbours]. NaN for maps that are zero or not finite.
    Cost: n_neighbours explanations per image.
    Random: neighbours per image ("max_sensitivity").
    """

    direction: ClassVar = "lower"
    needs = frozenset({"explanation", "classifier", "explain_again"})
    random = True

    n_neighbours: Count = 10
    radius: Positive = 0.2
    clamp: bool = True

    def explanations(self, classifier: Classifier) -> tuple[int, int]:
        return self.n_neighbours, 0

    def score(self, case: Case) -> dict[str, Tensor]:
        image, before = case.batch.image, case.explanation.attribution.flatten(1).double()
        size = torch.linalg.vector_norm(before, dim=1)
        changes = []
        for k in range(self.n_neighbours):
            moved = image + self.radius * (
                2
                * case.streams.uniform(
                    case.batch.image_id, f"max_sensitivity.{k}", *image.shape[1:], device=image.device
                )
                - 1
            )
            after = (
                case.explain_again(images=moved.clamp(0, 1) if self.clamp else moved).attribution.flatten(1).double()
            )
            changes.append(torch.linalg.vector_norm(after - before, dim=1) / size)
        relative_changes = torch.stack(changes, 1)
        relative_changes = relative_changes.masked_fill(~relative_changes.isfinite(), torch.nan)
        return {"value": relative_changes.amax(1), "changes": relative_changes}
