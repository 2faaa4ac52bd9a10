"""Training of wavelet flows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pomelo_lab.generator.wavelet_flow import WaveletFlow
from pomelo_lab.training.flow import FlowTraining
from pomelo_lab.types import Batch


class WaveletFlowTraining(FlowTraining):
    """Trains a wavelet flow by its negative log-likelihood.

    Before the first step, the principal components of the coarsest level are computed from all training images.
    """

    generator: WaveletFlow

    def begin(self, given: Mapping[str, Tensor]) -> None:
        whitening = self.generator.network.coarse.whitening
        whitening.fit(self.coarsest_images().to(given["images"].device), self.generator.stored)
        super().begin(given)

    def coarsest_images(self) -> Tensor:
        """The coarsest level [n,D] of all training images, augmented and dequantised as in training."""
        source, parts = self.training_source, []
        for step in range(source.steps_per_epoch):
            batch: Batch = self._unit_images(source, step)
            rng = torch.Generator().manual_seed(step)
            images, noise = self.training_batch(batch, rng).values()
            parts.append(self.generator.network.coarsest(self.generator.scaled(images, noise)[0]))
        return torch.cat(parts)
