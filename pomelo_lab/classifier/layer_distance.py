"""Distance of images in the layers of a network."""

from __future__ import annotations

import torch
from torch import Tensor

from pomelo_lab.classifier.base import NetworkClassifier


@torch.no_grad()
def layer_distance(network: NetworkClassifier, layers: list[str], one: Tensor, other: Tensor) -> Tensor:
    """Squared distance of unit feature vectors, mean over places, summed over layers (Zhang et al. 2018, eq. 1, with unit weights): [B]."""
    network.to(one.device)
    ours, theirs = (network.activations(images, layers) for images in (one, other))
    apart = [(normalized(a) - normalized(b)).square().sum(1).mean((1, 2)) for a, b in zip(ours, theirs, strict=True)]
    return torch.stack(apart).sum(0)


def normalized(feature: Tensor) -> Tensor:
    """Unit length across channels at every place: [B,D,h,w]."""
    return feature / (torch.linalg.vector_norm(feature, dim=1, keepdim=True) + 1e-10)
