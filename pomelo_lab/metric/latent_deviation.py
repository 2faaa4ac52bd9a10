"""How far what a generator finds in images is from the noise that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.sampler.base import Sampler


@dataclass(kw_only=True)
class LatentDeviation(Metric):
    """Root mean square of an image's inverted noise: 1 where it is what the generator draws from, less where inversion
    falls short of it.

    A flow's latents, or what DDIM inversion puts beside the image. A sampler that mixes them with unit noise (a flow's
    by mu, in-painting by its mask) leaves what its generator knows where this is far from 1.

    Source: own; POMELO does not report it. Departures: none.
    Args: sampler: left out of the config it is the job's, which must invert images (ddim, flow).
    Shapes: score also gives "mean" [B], of the values of an image.
    Cost: one inversion per image, beside the job's own.
    Raises: ValueError for samplers that do not invert.
    """

    direction = None
    symbol = "latent dev."

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

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        schedule = getattr(self.sampler, "encoding_schedule", None)
        return 1 if schedule is None else schedule.n_steps * (1 + self.sampler.fixed_point)
