"""The published perceptual distance, with a backbone from a file."""

from __future__ import annotations

import re
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import Forwards
from pomelo_lab.classifier.torchvision_ops import ensure
from pomelo_lab.metric.published import PublishedNetwork, colour
from pomelo_lab.weights import read_state

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}


@dataclass(kw_only=True)
class LPIPSDistance(PublishedNetwork, ABC):
    """A metric by the learned perceptual distance (LPIPS), by torchmetrics.

    Source: Zhang et al. (2018), https://arxiv.org/abs/1801.03924; its linear heads come with torchmetrics. Departures: none.
    Args:
        weights: state dict of torchvision's backbone (alexnet-owt-7be5be79.pth, vgg16-397923af.pth or squeezenet1_1-b8a52dc0.pth).
        net: that backbone.
    Cost: two forwards of the backbone per pair.
    """

    net: Literal["alex", "vgg", "squeeze"] = "vgg"

    @classmethod
    def described(cls, given: Mapping[str, Any]) -> str:
        return f"a file with the {given['net']} backbone of torchvision ({FILES[given['net']]})"

    def untrained(self) -> nn.Module:
        ensure()
        from torchmetrics.functional.image.lpips import _LPIPS  # the public classes download the backbone

        return _LPIPS(net=self.net, pnet_rand=True)

    def fill(self, key: str) -> None:
        given, wanted = read_state(self.weights, key), self.network.net.state_dict()
        found = {name: given.get(re.sub(r"slices?\.?\d+", "features", name, count=1)) for name in wanted}  # slice2.3.weight: layer 3 of the features
        if wrong := [name for name, value in found.items() if value is None or value.shape != wanted[name].shape]:
            raise ValueError(f"{key}: {self.weights} does not fit the {self.net} backbone of torchvision, first at {wrong[0]}")
        self.network.net.load_state_dict(found)

    @torch.no_grad()
    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """[B,C,H,W] in [0,1] twice -> [B]."""
        self.network.to(one.device)
        pair = colour(one), colour(other)
        return Forwards(64).rows(lambda start, stop: self.network(*(x[start:stop] for x in pair), normalize=True).flatten(), len(one))
