"""A plain convolutional network, for oracles whose architecture must differ from the residual classifier's."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from pomelo_lab.classifier.network import TrainableClassifier, standardized
from pomelo_lab.classifier.residual import unit
from pomelo_lab.config.hints import Count, Positive


@dataclass(kw_only=True)
class PlainClassifier(TrainableClassifier):
    """A network in the manner of VGG: stages of convolution, batch norm, ReLU and max pooling, then a hidden layer.

    Source: Simonyan & Zisserman (2015), configuration A. Departures: few and narrow layers, batch norm, one hidden
        layer, no dropout.
    Args:
        channels: number of channels of the images.
        width: channels of the first stage. The second stage has twice as many, later stages four times as many.
        depth: number of stages. Each halves the image: four stages leave 4x4 of a 64x64 image.
        hidden: number of units of the hidden layer, whose output is the penultimate feature.
        mean, std: input scaling (image - mean) / std, the same for all channels.
    Shapes: images [M,C,H,W] in [0,1] -> logits [M,K].
    Cost: one forward per image.
    Random: none besides the initial weights.
    """

    channels: Count = 3
    width: Count = 24
    depth: Count = 4
    hidden: Count = 128
    mean: float = 0.5
    std: Positive = 0.25

    middle = "stage2"

    def make_network(self) -> nn.Module:
        parts: list[tuple[str, nn.Module]] = []
        before = self.channels
        for stage in range(self.depth):
            after = self.width * min(2**stage, 4)
            pool = nn.MaxPool2d(2, ceil_mode=True)
            parts.append(
                (
                    f"stage{stage + 1}",
                    nn.Sequential(OrderedDict([*unit(before, after).named_children(), ("pool", pool)])),
                )
            )
            before = after
        parts += [
            ("pool", nn.AdaptiveAvgPool2d(4)),
            ("flatten", nn.Flatten()),
            ("hidden", nn.Linear(before * 16, self.hidden)),
            ("relu", nn.ReLU()),
            ("head", nn.Linear(self.hidden, self.n_logits)),
        ]
        return nn.Sequential(OrderedDict(parts))

    def normalized(self, images: Tensor) -> Tensor:
        return standardized(images, self.mean, self.std)

    @property
    def head(self) -> nn.Module:
        return self.network.head
