"""Share of a flow's decoded colours outside the range of images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, NonNegative
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.generator.base import Flow
from pomelo_lab.metric.base import Metric


@dataclass(kw_only=True)
class OutsideRange(Metric):
    """Share of the colours of a flow's samples that lie outside [0,1] before they are clamped.

    Source: own; a flow does not bound the values that it decodes.
    Args:
        generator: the flow; by default the job's generator.
        n_per_image: number of samples for each image of the job.
        temperature: standard deviation of the latents.
    Cost: n_per_image decodings per image.
    Random: one normal per value and image id ("outside range"); the images themselves do not matter.
    """

    direction = "lower"
    random = True

    generator: Flow
    n_per_image: Count = 8
    temperature: NonNegative = 1.0

    def score(self, case: Case) -> dict[str, Tensor]:
        size = (self.n_per_image, math.prod(self.generator.shape))
        drawn = case.streams.normal(case.batch.image_id, "outside range", *size, device=self.generator.device)

        @torch.no_grad()
        def share(latent: Tensor) -> Tensor:
            colours = self.generator.decode_unclamped(self.temperature * latent).flatten(1)
            return ((colours < 0) | (colours > 1)).double().mean(1)

        return {
            "value": self.generator.forwards(share, drawn.flatten(0, 1))
            .unflatten(0, drawn.shape[:2])
            .mean(1)
            .to(case.batch.image.device)
        }

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return Cost(evaluations=self.n_per_image)
