"""A small residual network for small images, which is the default classifier."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from pomelo_lab.classifier.network import TrainableClassifier, standardized
from pomelo_lab.config.hints import Count, Positive


@dataclass(kw_only=True)
class ResidualClassifier(TrainableClassifier):
    """A residual network that is cheap to query on a CPU: a stem with stride 4, then three stages of basic blocks.

    Source: He et al. (2016), basic blocks with projection shortcuts. Departures: the stem is one 7x7 convolution with
        stride 4 (the paper: stride 2 and max pooling); every ReLU is a module of its own and none works in place, as
        attribution hooks need.
    Args:
        channels: number of channels of the images.
        width: channels of the first stage. The next two stages have twice and four times as many.
        depth: number of blocks per stage.
        mean, std: input scaling (image - mean) / std, the same for all channels.
    Shapes: images [M,C,H,W] in [0,1] -> logits [M,K].
    Cost: 310 thousand weights at width 32 and depth 1; feature maps of 16x16, 8x8 and 4x4 for a 64x64 image.
    Random: none besides the initial weights.
    """

    channels: Count = 3
    width: Count = 32
    depth: Count = 1
    mean: float = 0.5
    std: Positive = 0.25

    middle = "stage1"

    def make_network(self) -> nn.Module:
        parts: list[tuple[str, nn.Module]] = [("stem", unit(self.channels, self.width, kernel=7, stride=4))]
        before = self.width
        for stage in range(3):
            after = self.width * 2**stage
            strides = [1 if stage == 0 else 2] + [1] * (self.depth - 1)
            blocks = [Block(before if i == 0 else after, after, stride) for i, stride in enumerate(strides)]
            parts.append((f"stage{stage + 1}", nn.Sequential(*blocks)))
            before = after
        parts += [
            ("pool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("head", nn.Linear(before, self.n_logits)),
        ]
        return nn.Sequential(OrderedDict(parts))

    def normalized(self, images: Tensor) -> Tensor:
        return standardized(images, self.mean, self.std)

    @property
    def head(self) -> nn.Module:
        return self.network.head


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: [M,before,H,W] -> [M,after,H/stride,W/stride]."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        return self.relu2(inner + self.shortcut(x))


def unit(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, batch norm and a ReLU. The padding keeps the size at stride 1."""
    conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(after), relu=nn.ReLU()))
