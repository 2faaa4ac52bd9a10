"""Perturbation in the latent space of a normalizing flow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams, RowNoise
from pomelo_lab.config.hints import NonNegative
from pomelo_lab.cost import Cost
from pomelo_lab.generator.base import Flow
from pomelo_lab.sampler.base import Sampler, all_but_first
from pomelo_lab.types import Batch, Perturbations, Segments


@dataclass(kw_only=True)
class FlowSampler(Sampler):
    """Each latent dimension moves towards a random latent by a random share: z' = (1 - lambda) z + lambda z*.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 2.4 ("flow") and Table
        3. Departures: none; the paper does not say whether lambda is drawn per dimension, its formula does; neither
        clips it.
    Args:
        generator: the flow. If the config leaves it out, the job's generator is used.
        mu, sigma: mean and standard deviation of lambda, which is drawn for each dimension.
        temperature: standard deviation of z*. With latent=eps, 1 is the distribution that the flow learned.
        keep_first: perturbation 0 is the image itself.
    Shapes: images [B,C,H,W] -> uint8 [B,n,C,H,W].
    Cost: one encoding per image, one decoding per perturbation.
    Random: two normals per perturbation and dimension, per (image id, perturbation).
    """

    generator: Flow
    mu: float = 0.5
    sigma: NonNegative = 0.3
    temperature: NonNegative = 1.0
    keep_first: bool = True

    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        self.generator.check_images(batch.image)
        with torch.no_grad():
            latent = self.generator.forwards(self.generator.encode, batch.image)
        size = math.prod(self.generator.shape)

        def make(image: Tensor, draws: RowNoise) -> Tensor:
            share = self.mu + self.sigma * draws.normal(size)
            return self.generator.decode(torch.lerp(latent[image], self.temperature * draws.normal(size), share))

        chosen = all_but_first(len(batch), n) if self.keep_first else None
        return Perturbations(
            image=self.generator.perturb(batch.image, batch.image_id, n, streams.named("flow"), make, chosen)
        )

    def infer_noise(self, images: Tensor) -> Tensor:
        """The latents [M,D] of images [M,C,H,W]."""
        return self.generator.encode(images)

    def cost(self, n: int) -> Cost:
        return Cost(evaluations=1 + n - (self.keep_first and n > 0))
