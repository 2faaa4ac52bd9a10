"""Metrics that score with a published network, filled from a file that the user has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pomelo_lab.batching import MicroBatches
from pomelo_lab.config.hints import WeightsPath
from pomelo_lab.config.signature import Component
from pomelo_lab.image_arithmetic import in_colour
from pomelo_lab.weights import load


@dataclass(kw_only=True)
class PublishedNetwork(Component, ABC):
    """The part of a metric that holds a published network. Its weights file is required, since no other network gives
    the published numbers.

    file:    the expected file in words, for messages.
    instead: which metric to use without the file.
    pickled: what to do where the published file is a pickle; "" where it is none.
    Args: weights: that file, a .safetensors file or a state dict that is read without unpickling; nothing is
        downloaded.
    Raises: ValueError naming the key when no file is given, and with the first names that differ when it is another
        network's.
    """

    file: ClassVar[str]
    instead: ClassVar[str]
    pickled: ClassVar[str] = ""

    weights: WeightsPath = None
    network: nn.Module = field(init=False, repr=False, compare=False)

    @classmethod
    def describe(cls, given: Mapping[str, Any]) -> str:
        """The expected file, in words."""
        return cls.file

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports a missing file, and a pickle, which is never read."""
        yield from super().config_problems(given)
        if given["weights"] is None:
            yield f"weights must be {cls.describe(given)}, got None; without one use {cls.instead}"
        elif cls.pickled and str(given["weights"]).endswith(".pkl"):
            yield f"weights must be a .safetensors or .pth state dict, got {given['weights']}: {cls.pickled}"

    def __post_init__(self) -> None:
        super().__post_init__()
        with torch.random.fork_rng(devices=[]):
            self.network = self.build_network()
        self.read_weights(f"metric {type(self).__name__}: weights")
        self.network.eval().requires_grad_(False)

    @abstractmethod
    def build_network(self) -> nn.Module:
        """The network with the parameter names of the file: [B,3,H,W] -> features."""

    def read_weights(self, key: str) -> None:
        """Read the weights file. Raises: ValueError naming `key`."""
        load(self.network, self.weights, self.file, key)

    def preprocess(self, images: Tensor) -> Tensor:
        """Images [B,3,H,W] in [0,1], scaled as the network expects them."""
        return images

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The features of images: [B,C,H,W] in [0,1] -> [B,D]."""
        self.network.to(images.device)
        return MicroBatches(64)(lambda part: self.network(self.preprocess(in_colour(part))), images)
