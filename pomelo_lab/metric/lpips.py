"""The published perceptual distance, with a backbone from a file."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import MicroBatches
from pomelo_lab.classifier.layer_distance import LPIPS_FILES, fill_lpips, untrained_lpips
from pomelo_lab.metric.published import PublishedNetwork, colour


@dataclass(kw_only=True)
class LPIPSDistance(PublishedNetwork, ABC):
    """A metric by the learned perceptual distance (LPIPS), by torchmetrics.

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
    def described(cls, given: Mapping[str, Any]) -> str:
        return f"a file with the {given['net']} backbone of torchvision ({LPIPS_FILES[given['net']]})"

    def untrained(self) -> nn.Module:
        return untrained_lpips(self.net)

    def fill(self, key: str) -> None:
        fill_lpips(self.network, self.weights, self.net, key)

    @torch.no_grad()
    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """[B,C,H,W] in [0,1] twice -> [B]."""
        self.network.to(one.device)
        pair = colour(one), colour(other)
        return MicroBatches(64).rows(
            lambda start, stop: self.network(*(x[start:stop] for x in pair), normalize=True).flatten(), len(one)
        )
