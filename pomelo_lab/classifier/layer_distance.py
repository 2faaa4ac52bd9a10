"""Distances of images in the layers of a network, and the unit in which losses count them."""

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
    """A perceptual distance in the units in which a loss weighs it.

    Networks differ in the size of their features: the same weight in front of a distance means something else with each
    of them. A distance divided by its mean between two training images is 1 between two people, whatever network it
    looks through, so that weights carry over. A published distance with its published weights file (LPIPS; VGG-19 for
    DiME) has a unit of its own, in which its paper's weights are stated: mean = 1.

    Args:
        between: `feature_distance`, `unit_distance` or an LPIPS network.
        mean: what it is divided by, see `mean_distance`.
    Shapes: images [B,C,H,W] in [0,1] twice -> [B]; differentiable.
    """

    between: Between
    mean: float = 1.0

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        return self.between(one, other) / self.mean


def mean_distance(between: Between, training: Dataset, n_pairs: int, device: torch.device | str = "cpu") -> Tensor:
    """The mean of a distance between two training images, over pairs of different images, each image in one pair:
    float64, a scalar.

    Args: n_pairs: pairs, of the first 2 n_pairs images of the fixed order; fewer where the training set is smaller.
    Cost: two forwards of the network per pair. Raises: ValueError when it is 0 or not finite.
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


def unit_distance(network: NetworkClassifier, layers: list[str], one: Tensor, other: Tensor) -> Tensor:
    """Squared distance of unit feature vectors, mean over places, summed over layers (Zhang et al. 2018, eq. 1, with
    unit weights): [B]."""
    network.to(one.device)
    ours, theirs = (network.activations(images, layers) for images in (one, other))
    apart = [(normalized(a) - normalized(b)).square().sum(1).mean((1, 2)) for a, b in zip(ours, theirs, strict=True)]
    return torch.stack(apart).sum(0)


def feature_distance(network: NetworkClassifier, layers: list[str], one: Tensor, other: Tensor) -> Tensor:
    """Mean squared difference of some layers' outputs, summed over the layers (DiME's code): [B]; images are clamped to
    [0,1] first."""
    network.to(one.device)
    pairs = zip(
        network.activations(one.clamp(0, 1), layers), network.activations(other.clamp(0, 1), layers), strict=True
    )
    return sum((a - b).square().flatten(1).mean(1) for a, b in pairs)


def normalized(feature: Tensor) -> Tensor:
    """Unit length across channels at every place: [B,D,h,w]."""
    return feature / (torch.linalg.vector_norm(feature, dim=1, keepdim=True) + 1e-10)


def untrained_lpips(net: str = "vgg") -> nn.Module:
    """The network of LPIPS (Zhang et al. 2018) by torchmetrics, with its linear heads and a random backbone."""
    ensure()
    from torchmetrics.functional.image.lpips import _LPIPS  # the public classes download the backbone

    return _LPIPS(net=net, pnet_rand=True)


def fill_lpips(network: nn.Module, weights: str, net: str, key: str) -> None:
    """Read the backbone, a state dict of torchvision's.

    Raises ValueError naming `key` when the file is another network's.
    """
    given, wanted = read_state(weights, key), network.net.state_dict()
    # slice2.3.weight: layer 3 of the features
    state = {name: given.get(re.sub(r"slices?\.?\d+", "features", name, count=1)) for name in wanted}
    if wrong := [name for name, value in state.items() if value is None or value.shape != wanted[name].shape]:
        raise ValueError(f"{key}: {weights} does not fit the {net} backbone of torchvision, first at {wrong[0]}")
    network.net.load_state_dict(state)


def lpips_distance(network: nn.Module, one: Tensor, other: Tensor) -> Tensor:
    """LPIPS of each pair of images, by a network of `untrained_lpips`: [B,C,H,W] in [0,1] twice -> [B]; gray images in
    three equal channels."""
    return network.to(one.device)(in_colour(one), in_colour(other), normalize=True).flatten()


def lpips(weights: str, net: str = "vgg", key: str = "explainer.lpips") -> Between:
    """LPIPS itself, from its backbone's weights file; differentiable, images are clamped to [0,1] first."""
    with torch.random.fork_rng(devices=[]):
        network = untrained_lpips(net)
    fill_lpips(network, weights, net, key)
    network.eval().requires_grad_(False)
    return lambda one, other: lpips_distance(network, one.clamp(0, 1), other.clamp(0, 1))
