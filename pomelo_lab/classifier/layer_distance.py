"""Perceptual distances of images in the layers of a network, and the unit in which losses weigh them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pomelo_lab.batching import in_full_rows
from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.compat import ensure
from pomelo_lab.image_arithmetic import in_colour
from pomelo_lab.weights import read_state

if TYPE_CHECKING:
    from pomelo_lab.dataset.base import Dataset

LPIPS_FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}
Between = Callable[[Tensor, Tensor], Tensor]  # images [B,C,H,W] in [0,1] twice -> [B]


@dataclass(frozen=True)
class PerceptualDistance:
    """A perceptual distance, divided by a mean distance, for the terms of a loss.

    The size of features differs between networks, so the same weight of a loss term has different effects. A distance
    divided by its mean between two training images averages 1 with every network. A published distance with its
    published weights file (LPIPS; VGG-19 for DiME) is not divided (mean = 1), because its paper states weights in that
    unit.

    Args:
        between: `feature_distance`, `unit_distance` or an LPIPS network.
        mean: the divisor, see `mean_distance`.
    Shapes: images [B,C,H,W] in [0,1] twice -> [B]; differentiable.
    """

    between: Between
    mean: float = 1.0

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        return self.between(first, second) / self.mean


def mean_distance(between: Between, training: Dataset, n_pairs: int, device: torch.device | str = "cpu") -> Tensor:
    """Mean distance between two different training images, a float64 scalar. Each image is in one pair.

    Args: n_pairs: number of pairs. They consist of the first 2 n_pairs images of the fixed order. A smaller training
        set gives fewer pairs.
    Cost: two forwards of the network per pair.
    Raises: ValueError when the mean is 0 or not finite.
    """
    n = min(n_pairs, len(training) // 2)
    rows = training.order()[: 2 * n].tolist()
    parts = []
    with torch.no_grad():
        for start in range(0, n, 64):
            stop = min(n, start + 64)
            pair = [training.unmasked(rows[shift + start : shift + stop]).image.to(device) for shift in (0, n)]
            parts.append(in_full_rows(between, *pair).double())
    mean = torch.cat(parts).mean() if parts else torch.tensor(0.0)
    if not (mean.isfinite() and mean > 0):
        raise ValueError(
            f"explainer.perceptual sees a distance of {float(mean):g} between two training images: "
            f"nothing can be measured in it"
        )
    return mean.cpu()


def unit_distance(network: NetworkClassifier, layers: list[str], first: Tensor, second: Tensor) -> Tensor:
    """Squared distance of unit feature vectors, mean over positions, summed over layers: [B].

    Source: Zhang et al. (2018), https://arxiv.org/abs/1801.03924, eq. 1, with unit weights.
    """
    network.to(first.device)
    features = zip(network.activations(first, layers), network.activations(second, layers), strict=True)
    distances = [(normalized(a) - normalized(b)).square().sum(1).mean((1, 2)) for a, b in features]
    return torch.stack(distances).sum(0)


def feature_distance(network: NetworkClassifier, layers: list[str], first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference of the layers' outputs, summed over the layers (DiME's code): [B].

    The images are clamped to [0,1] first.
    """
    network.to(first.device)
    pairs = zip(
        network.activations(first.clamp(0, 1), layers), network.activations(second.clamp(0, 1), layers), strict=True
    )
    return sum((a - b).square().flatten(1).mean(1) for a, b in pairs)


def normalized(feature: Tensor) -> Tensor:
    """Features [B,D,h,w] scaled to unit length across channels at every position."""
    return feature / (torch.linalg.vector_norm(feature, dim=1, keepdim=True) + 1e-10)


def untrained_lpips(net: str = "vgg") -> nn.Module:
    """Makes the network of LPIPS (Zhang et al. 2018) with torchmetrics' linear heads and a random backbone."""
    ensure()
    from torchmetrics.functional.image.lpips import _LPIPS  # the public classes download the backbone

    return _LPIPS(net=net, pnet_rand=True)


def fill_lpips(network: nn.Module, weights: str, net: str, key: str) -> None:
    """Fills the backbone of LPIPS from a state dict of torchvision.

    Raises: ValueError naming `key` when the file is another network's.
    """
    given, wanted = read_state(weights, key), network.net.state_dict()
    # slice2.3.weight: layer 3 of the features
    state = {name: given.get(re.sub(r"slices?\.?\d+", "features", name, count=1)) for name in wanted}
    if wrong := [name for name, value in state.items() if value is None or value.shape != wanted[name].shape]:
        raise ValueError(f"{key}: {weights} does not fit the {net} backbone of torchvision, first at {wrong[0]}")
    network.net.load_state_dict(state)


def lpips_distance(network: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """LPIPS of each pair of images, by a network of `untrained_lpips`: [B,C,H,W] in [0,1] twice -> [B].

    Gray images are repeated to three channels.
    """
    return network.to(first.device)(in_colour(first), in_colour(second), normalize=True).flatten()


def lpips(weights: str, net: str = "vgg", key: str = "explainer.lpips") -> Between:
    """LPIPS with a backbone from a weights file; differentiable. Images are clamped to [0,1] first."""
    with torch.random.fork_rng(devices=[]):
        network = untrained_lpips(net)
    fill_lpips(network, weights, net, key)
    network.eval().requires_grad_(False)
    return lambda first, second: lpips_distance(network, first.clamp(0, 1), second.clamp(0, 1))
