"""Encoding and decoding without a change: the part of a counterfactual that comes from the autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.counterfactual import SearchResult
from pomelo_lab.explainer.latent import LatentExplainer
from pomelo_lab.types import Perturbations


@dataclass(kw_only=True)
class ReconstructionExplainer(LatentExplainer):
    """The image encoded and decoded by the autoencoder, as a "counterfactual". It is the lower limit of every distance
    and of every count of changed attributes.

    Source: own (control). Departures: none.
    Args: as in LatentExplainer.
    Shapes: as every counterfactual; "flipped" where the reconstruction is of another class.
    """

    access: ClassVar[str] = "black_box"

    def search(self, case: Case, goal: Tensor) -> SearchResult:
        self.generator.check_images(case.batch.image)
        code, noise = self.encode(case.batch.image)
        image = self.render(code, noise, torch.zeros_like(code)[:, None])[:, 0]
        answer = case.classifier.probability(image)
        of_goal = answer.gather(1, goal[:, None])[:, 0]
        return SearchResult(
            Perturbations.dequantize(image), (answer.argmax(1) == goal).float(), of_goal, torch.ones_like(of_goal)
        )

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(queries=2, evaluations=self.inversion + self.n_render)
