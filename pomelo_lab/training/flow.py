"""Training of flows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.generator.base import Flow
from pomelo_lab.training.augment import augment
from pomelo_lab.training.module import Training
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.types import Batch


class FlowTraining(Training):
    """Trains a flow by its negative log-likelihood in bits per value.

    The images are dequantised with uniform noise (Kingma & Dhariwal 2018, eq. 2), or with the noise that the flow
    draws.
    """

    def __init__(self, generator: Flow, recipe: Recipe, dataset: Dataset | None = None) -> None:
        generator.network.thaw()
        super().__init__(generator.network, recipe)
        self.generator = generator

    def begin(self, given: Mapping[str, Tensor]) -> None:
        self.loss(given)  # initialises every actnorm layer from these images, on all devices to the same values

    def training_batch(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        images = augment(batch.image, self.recipe, rng)
        return {"images": images, "noise": self.generator.draw_offsets(images.shape, rng).to(images.device)}

    def loss(self, given: Mapping[str, Tensor]) -> Tensor:
        return -self.generator.training_density(given["images"], given["noise"]) / self.nats

    def score(self, batch: Batch) -> dict[str, Tensor]:
        noise = (
            RandomStreams(0).uniform(batch.image_id, "dequantisation", *batch.image.shape[1:]).to(batch.image.device)
        )
        return {"bits": self.bits(batch.image, noise)}

    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        return {"bits_per_value": scores["bits"].double().mean().item(), "n": len(scores["bits"])}

    def sample_grid(self, n: int) -> Tensor:
        return self.generator.sample(n, torch.Generator().manual_seed(0), temperature=0.8)

    def bits(self, images: Tensor, noise: Tensor) -> Tensor:
        """Bits per value of each image [B]; lower is better. A uniform distribution over all values has n_bits."""
        return -self.generator.log_density(images, noise) / self.nats

    @property
    def nats(self) -> float:
        """The information of a whole image, in nats, when each value has one bit."""
        return math.log(2) * math.prod(self.generator.shape)
