"""Perceptual distances that metrics measure: the published one, and one in layers of our own network."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import MicroBatches
from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.classifier.layer_distance import LPIPS_FILES, fill_lpips, lpips_distance, unit_distance, untrained_lpips
from pomelo_lab.config.signature import Component
from pomelo_lab.metric.published_network import PublishedNetwork


@dataclass(kw_only=True)
class OracleDistance(Component, ABC):
    """The part of a metric that measures a perceptual distance in layers of an oracle, all channels weighted equally;
    never to be compared with a published LPIPS.

    Source: Zhang et al. (2018), https://arxiv.org/abs/1801.03924, eq. 1, with unit weights.
    Args:
        oracle: the network whose features are used; not the explained classifier.
        layers: names of its modules; the distances in their outputs are summed.
    Cost: two forwards of the oracle per pair.
    """

    oracle: NetworkClassifier
    layers: list[str] = field(default_factory=lambda: ["stage1", "stage2", "stage3", "stage4"])

    @torch.no_grad()
    def distance(self, image: Tensor, other: Tensor) -> Tensor:
        """The distance of each pair of images: [B,C,H,W] in [0,1] twice -> [B]."""
        return unit_distance(self.oracle, self.layers, image, other)


@dataclass(kw_only=True)
class LPIPSDistance(PublishedNetwork, ABC):
    """The part of a metric that measures the learned perceptual distance (LPIPS), by torchmetrics.

    Source: Zhang et al. (2018), https://arxiv.org/abs/1801.03924; its linear heads come with torchmetrics. Departures:
        none.
    Args:
        weights: state dict of torchvision's backbone (alexnet-owt-7be5be79.pth, vgg16-397923af.pth or
            squeezenet1_1-b8a52dc0.pth).
        net: that backbone.
    Cost: two forwards of the backbone per pair.
    """

    net: Literal["alex", "vgg", "squeeze"] = "vgg"

    @classmethod
    def describe(cls, given: Mapping[str, Any]) -> str:
        return f"a file with the {given['net']} backbone of torchvision ({LPIPS_FILES[given['net']]})"

    def build_network(self) -> nn.Module:
        return untrained_lpips(self.net)

    def read_weights(self, key: str) -> None:
        fill_lpips(self.network, self.weights, self.net, key)

    @torch.no_grad()
    def distance(self, image: Tensor, other: Tensor) -> Tensor:
        """The distance of each pair of images: [B,C,H,W] in [0,1] twice -> [B]."""
        return MicroBatches(64).rows(
            lambda start, stop: lpips_distance(self.network, image[start:stop], other[start:stop]), len(image)
        )
