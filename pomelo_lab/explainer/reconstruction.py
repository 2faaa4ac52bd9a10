"""Encoding and decoding alone: what a counterfactual along codes changes before anything is moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.explainer.counterfactual import Found
from pomelo_lab.explainer.latent import LatentExplainer
from pomelo_lab.types import Batch, Perturbations


@dataclass(kw_only=True)
class ReconstructionExplainer(LatentExplainer):
    """The image through the autoencoder and back, as the "counterfactual": the floor of every distance and of every
    count of changed attributes.

    Source: own (control). Departures: none. Args: as in LatentExplainer.
    Shapes: as every counterfactual; "flipped" where the reconstruction is of another class.
    """

    access: ClassVar[str] = "black_box"
    signed: ClassVar[bool] = False

    def sought(
        self, batch: Batch, target: Tensor, goal: Tensor, classifier: BlackBox, streams: RandomStreams, **fit: Any
    ) -> Found:
        self.generator.check_images(batch.image)
        code, noise = self.encoded(batch.image)
        image = self.drawn(code, noise, torch.zeros_like(code)[:, None])[:, 0]
        answer = classifier.probability(image)
        of_goal = answer.gather(1, goal[:, None])[:, 0]
        return Found(
            Perturbations.dequantize(image), (answer.argmax(1) == goal).float(), of_goal, torch.ones_like(of_goal)
        )

    def queries(self, shape: tuple[int, int, int]) -> int:
        return 2

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        return self.inversion + self.n_render
