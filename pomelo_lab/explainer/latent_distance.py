"""The perceptual distance between an image and the renders of displaced codes."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from pomelo_lab.batching import in_full_rows
from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.classifier.layer_distance import Between, lpips, mean_distance, unit_distance
from pomelo_lab.config.hints import Count, WeightsPath
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.latent import LatentExplainer
from pomelo_lab.types import Perturbations


@dataclass(kw_only=True)
class LatentDistance(LatentExplainer, ABC):
    """Measures the perceptual distance between an image and its renders.

    Source: Sobieski & Biecek (2024), "Global Counterfactual Directions", https://arxiv.org/abs/2404.12488, eq. 1: LPIPS
        with VGG (Zhang et al. 2018, https://arxiv.org/abs/1801.03924). Departures: without the weights file of LPIPS it
        is the distance of another network, divided by its mean between two training images.
    Args:
        perceptual, layers: network and layers of that distance.
        lpips: weights file of VGG-16 (vgg16-397923af.pth). The distance is then LPIPS as in the paper, and the paper's
            weights apply.
        n_pairs: pairs of training images for the mean distance.
        The other arguments are those of LatentExplainer.
    """

    perceptual: NetworkClassifier
    layers: list[str] = field(default_factory=lambda: ["stage1", "stage2", "stage3", "stage4"])
    lpips: WeightsPath = None
    n_pairs: Count = 256

    @cached_property
    def between(self) -> Between:
        """LPIPS, or the distance in layers of `perceptual`, before it is divided by its unit."""
        if self.lpips:
            return lpips(self.lpips, key="explainer.lpips")
        return lambda image, render: unit_distance(self.perceptual, self.layers, image, render)

    @torch.no_grad()
    def distance(self, image: Tensor, renders: Tensor, unit: Tensor) -> Tensor:
        """Perceptual distance of each image [B,C,H,W] to its renders, uint8 [B,A,C,H,W] -> [B,A]; or of one image
        [1,C,H,W] to [A,C,H,W] -> [A]."""
        flat, each = renders.reshape(-1, *renders.shape[-3:]), renders.shape[-4]

        def part(start: int, stop: int) -> Tensor:
            rows = torch.arange(start, stop, device=image.device) // each
            return in_full_rows(self.between, image[rows], Perturbations.dequantize(flat[start:stop]))

        return self.generator.forwards.rows(part, len(flat)).reshape(renders.shape[:-3]) / unit.to(image.device)

    def distance_unit(self, training: Dataset) -> Tensor:
        """The unit of distances: 1 for LPIPS, otherwise the mean distance between two training images."""
        if self.lpips:
            return torch.tensor(1.0)
        return mean_distance(self.between, training, self.n_pairs, self.generator.device).float()
