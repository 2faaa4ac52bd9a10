"""Deviation of the noise that a generator infers from images from the noise of its training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.sampler.base import Sampler


@dataclass(kw_only=True)
class LatentDeviation(Metric):
    """Root mean square of the noise that inversion finds in an image: 1 for the noise from which the generator draws.

    The noise is a flow's latent, or the result of DDIM inversion. A sampler that mixes it with unit noise (a flow's by
    mu, in-painting by its mask) gives its generator unfamiliar inputs where the value is far from 1.

    Source: own; POMELO does not report it. Departures: none.
    Args: sampler: by default the job's; it must invert images (ddim, flow).
    Shapes: score also gives "mean" [B], the mean of an image's noise.
    Cost: one inversion per image, in addition to the job's.
    Raises: ValueError for samplers that do not invert.
    """

    direction = None

    sampler: Sampler

    def score(self, case: Case) -> dict[str, Tensor]:
        if not hasattr(self.sampler, "infer_noise"):
            raise ValueError(
                f"metric LatentDeviation needs a sampler that inverts images (ddim, flow), got "
                f"{type(self.sampler).__name__}"
            )
        image = case.batch.image
        with torch.no_grad():
            noise = self.sampler.generator.forwards(self.sampler.infer_noise, image).flatten(1).double()
        return {"value": noise.square().mean(1).sqrt().to(image.device), "mean": noise.mean(1).to(image.device)}

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        schedule = getattr(self.sampler, "encoding_schedule", None)
        return Cost(evaluations=1 if schedule is None else schedule.n_steps * (1 + self.sampler.fixed_point))
