"""The operators that act locally: what a region of their outputs depends on, and how it is computed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.runtime.spans import Spans


@dataclass(frozen=True)
class Window:
    """An operator whose output at a position is a function of a window of its input: a convolution or a pooling.

    apply: the operator without padding.
    kernel, stride, dilation: for rows and columns.
    padding: before the first row and column; what lies behind the last ones follows from the output's size.
    fill: the value of padding.
    """

    apply: Callable[[Tensor], Tensor]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    fill: float = 0.0

    def extent(self, axis: int) -> int:
        """The number of positions from the first to the last input that an output reads."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def spread(self, changed: Spans, axis: int, size: int) -> Spans:
        """The outputs that read a changed input, on an axis with `size` outputs."""
        stride, start = self.stride[axis], changed.start + self.padding[axis]
        first = -torch.div(self.extent(axis) - 1 - start, stride, rounding_mode="floor")  # rounded up
        last = torch.div(start + changed.length - 1, stride, rounding_mode="floor")
        return Spans.covering(first, last, size)

    def read(self, outputs: Spans, axis: int, size: int) -> Spans:
        """The inputs that outputs read, on an axis with `size` inputs. They may lie beyond it."""
        start = outputs.start * self.stride[axis] - self.padding[axis]
        return Spans(start, (outputs.length - 1) * self.stride[axis] + self.extent(axis), size)


def convolution(layer: nn.Conv2d) -> Window | None:
    """A convolution as a window. None for padding with other values than zeros."""
    if layer.padding_mode != "zeros":
        return None
    padding = layer.padding
    if isinstance(padding, str):
        same = tuple(d * (k - 1) // 2 for k, d in zip(layer.kernel_size, layer.dilation, strict=True))
        padding = same if padding == "same" else (0, 0)

    def apply(x: Tensor) -> Tensor:
        return F.conv2d(x, layer.weight, layer.bias, layer.stride, 0, layer.dilation, layer.groups)

    return Window(apply, layer.kernel_size, layer.stride, layer.dilation, padding)


def max_pooling(layer: nn.MaxPool2d) -> Window | None:
    """Max pooling as a window. None when it also returns positions."""
    if layer.return_indices:
        return None
    kernel, stride, dilation = pair(layer.kernel_size), pair(layer.stride), pair(layer.dilation)

    def apply(x: Tensor) -> Tensor:
        return F.max_pool2d(x, kernel, stride, 0, dilation)

    return Window(apply, kernel, stride, dilation, pair(layer.padding), -torch.inf)


def mean_pooling(layer: nn.AvgPool2d) -> Window | None:
    """Average pooling as a window. None where the divisor is another one at the border."""
    kernel, stride, padding = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
    if layer.ceil_mode or (any(padding) and not layer.count_include_pad):
        return None

    def apply(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, kernel, stride, divisor_override=layer.divisor_override)

    return Window(apply, kernel, stride, (1, 1), padding)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """An argument of a layer for rows and columns."""
    return (value, value) if isinstance(value, int) else tuple(value)


WINDOWS: Mapping[type[nn.Module], Callable[[Any], Window | None]] = {
    nn.Conv2d: convolution,
    nn.MaxPool2d: max_pooling,
    nn.AvgPool2d: mean_pooling,
}
# what computes each position from the same position of its inputs; random or batch-dependent modules only in eval mode
POINTWISE_MODULES = frozenset(
    {nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh}
    | {nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Mish, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d}
)
POINTWISE_FUNCTIONS = frozenset(
    {operator.add, operator.iadd, operator.sub, operator.mul, operator.imul, torch.add, torch.sub, torch.mul}
    | {torch.relu, torch.sigmoid, torch.tanh, F.relu, F.relu6, F.leaky_relu, F.elu, F.silu, F.gelu, F.hardswish}
    | {F.hardsigmoid, F.hardtanh, F.sigmoid, F.tanh}
)
POINTWISE_METHODS = frozenset({"add", "add_", "sub", "mul", "mul_", "relu", "relu_", "sigmoid", "tanh", "contiguous"})
IN_PLACE = frozenset({operator.iadd, operator.imul})


def is_pointwise(layer: nn.Module) -> bool:
    """Whether a module acts on each position by itself, for each image by itself."""
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is None:  # statistics of the batch, also in eval mode
        return False
    return type(layer) in POINTWISE_MODULES and not layer.training
