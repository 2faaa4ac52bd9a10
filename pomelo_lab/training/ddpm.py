"""Training of diffusion models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.generator.diffusion import split_output
from pomelo_lab.generator.diffusion_model import DiffusionModel
from pomelo_lab.generator.learned_variance import variational_term
from pomelo_lab.training.augment import augment
from pomelo_lab.training.module import Training
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.types import Batch


class DDPMTraining(Training):
    """Trains a diffusion model by the mean squared error of its prediction at uniform random timesteps.

    With learned variances, a thousandth of the variational bound's sum over timesteps is added.
    The loss is the same with `generator.sigma_data`. The shipped network became worse when the error was measured
    relative to the residual of a linear estimate (Karras et al. 2022).

    Source: Ho et al. (2020), eq. 14; Salimans & Ho (2022); Nichol & Dhariwal (2021), eq. 16.
    """

    def __init__(self, generator: DiffusionModel, recipe: Recipe, dataset: Dataset | None = None) -> None:
        if generator.sigma_data == "auto":
            generator.sigma_data = generator.measure_deviation(dataset)
        super().__init__(generator.network, recipe)
        self.generator = generator

    def training_batch(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        images = augment(batch.image, self.recipe, rng)
        t = self.timesteps(len(images), rng)
        noise = torch.randn(images.shape, generator=rng)
        return {"images": images, "t": t.to(images.device), "noise": noise.to(images.device)}

    def timesteps(self, n: int, rng: torch.Generator) -> Tensor:
        """n random timesteps for training: int64 [n], on the CPU."""
        return torch.randint(self.generator.n_timesteps, (n,), generator=rng)

    def loss(self, given: Mapping[str, Tensor]) -> Tensor:
        return self.error(**given).mean()

    def score(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.error(batch.image, *self.draw_held_out(batch))}

    def draw_held_out(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Timesteps [B] and noise [B,C,H,W] for validation. An image gets the same ones at every validation."""
        streams, device = RandomStreams(0), batch.image.device
        t = (streams.uniform(batch.image_id, "validation timestep")[:] * self.generator.n_timesteps).long()
        return t.to(device), streams.normal(batch.image_id, "validation noise", *batch.image.shape[1:]).to(device)

    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        return {"loss": scores["loss"].double().mean().item(), "n": len(scores["loss"])}

    def sample_grid(self, n: int) -> Tensor:
        return self.generator.sample_grid(self.validation_source.batch(0).image[:n].to(self.device))

    def condition(self, images: Tensor) -> tuple[Tensor, ...]:
        """Additional inputs of the network, computed from the clean images. A plain diffusion model has none."""
        return ()

    def error(self, images: Tensor, t: Tensor, noise: Tensor, condition: tuple[Tensor, ...] | None = None) -> Tensor:
        """The loss of each image [B].

        Args: condition: additional inputs of the network; None = those of the same images.
        """
        condition = self.condition(images) if condition is None else condition
        x0 = self.generator.scaled(images)
        level = self.generator.alphas_cumprod.to(x0.device)[t].float()[:, None, None, None]
        x = level.sqrt() * x0 + (1 - level).sqrt() * noise
        kind = self.generator.prediction
        wanted = {"epsilon": noise, "sample": x0, "v_prediction": level.sqrt() * noise - (1 - level).sqrt() * x0}[kind]
        if self.generator.variance == "posterior":
            return (self.generator.output(x, t, *condition) - wanted).square().mean((1, 2, 3))
        output, share = self.generator.output_and_share(x, t, *condition)
        estimate = split_output(output, x, level.double().cpu(), kind)[0]
        bound = variational_term(x0, x, estimate, share, t, self.generator.alphas_cumprod)
        return (output - wanted).square().mean((1, 2, 3)) + self.generator.n_timesteps / 1000 * bound
