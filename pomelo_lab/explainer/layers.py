"""Checks that a network, or one of its layers, suits a method. They query a single image before the work starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.classifier.layers import FunctionModule, StopForward


def check_gradient(method: str, module: nn.Module, image: Tensor) -> None:
    """Raises ValueError when a network's answers have no gradient with respect to the image [1,C,H,W]."""
    with torch.enable_grad():
        image = image.detach().requires_grad_(True)
        answer = module(image)
        reached = answer.requires_grad and torch.autograd.grad(answer.sum(), image, allow_unused=True)[0] is not None
    if not reached:
        raise ValueError(
            f"explainer {method} needs gradients: the answers of this network have none with respect to the image"
        )


@torch.no_grad()
def outputs(module: nn.Module, layer: nn.Module, image: Tensor, first: bool = False) -> list[Any]:
    """The outputs of a layer in one forward pass, one per call. If only the first is wanted, the network is not run
    beyond it."""
    seen: list[Any] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        seen.append(output.clone() if isinstance(output, Tensor) else output)
        if first:
            raise StopForward(output)

    handle = layer.register_forward_hook(note)
    try:
        module(image)
    except StopForward:
        pass
    finally:
        handle.remove()
    return seen


def map_of(method: str, module: FunctionModule, name: str, image: Tensor) -> Tensor:
    """The map [1,C,h,w] that a layer gives for the image [1,C,H,W].

    Raises: ValueError, which names the layer, when it gives no map or is not called exactly once: tokens, a single
        cell, or channels that come last, as in Swin transformers. Columns are recognised because their number grows
        with the width of the image, or of the resized image after a resize. If the network accepts one size only, or
        the layer always gives the same size, the map must have the aspect ratio of the image, or be a square.
    """
    layer = module.network.get_submodule(name)
    seen = outputs(module, layer, image)
    label = (
        f"explainer {method}: explainer.layer must give one map [C,h,w] of an image, layer {name} "
        f"({type(layer).__name__})"
    )
    if len(seen) != 1:
        raise ValueError(f"{label} is called {len(seen)} times in one forward")
    (output,) = seen
    if not isinstance(output, Tensor):
        raise ValueError(f"{label} gives a {type(output).__name__}")
    shape = list(output.shape[1:])
    if output.ndim != 4:
        raise ValueError(f"{label} gives {shape}")
    if shape[1] * shape[2] == 1:
        raise ValueError(f"{label} gives a single cell, {shape}")
    if not rows_and_columns_last(module, layer, image, output):
        raise ValueError(f"{label} gives {shape}, where the last two sides are not rows and columns")
    return output


def rows_and_columns_last(module: nn.Module, layer: nn.Module, image: Tensor, output: Tensor) -> bool:
    """Whether the last two axes of a layer's output [1,C,h,w] are rows and columns of the image."""
    try:
        wide = outputs(module, layer, torch.cat([image, image], 3), first=True)[0]
        if wide.shape == output.shape:  # the network resizes its images
            with widen_input(module.network):
                wide = outputs(module, layer, image, first=True)[0]
    except (RuntimeError, ValueError, AssertionError):  # the network refuses this size
        wide = output
    if wide.shape == output.shape:
        rows, columns = output.shape[2:]
        return min(abs(columns - rows * image.shape[3] / image.shape[2]), abs(columns - rows)) <= 1
    return wide.shape[:3] == output.shape[:3]


@contextmanager
def widen_input(network: nn.Module) -> Iterator[None]:
    """A context in which the first submodule that the network calls receives its images [1,C,h,w] twice, side by
    side. A resize before it has already run."""
    called: list[nn.Module] = []

    def widen(part: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        called.append(part)
        if len(called) > 1 or not given or not isinstance(given[0], Tensor) or given[0].ndim != 4:
            return None
        return (torch.cat([given[0], given[0]], 3), *given[1:])

    handles = [part.register_forward_pre_hook(widen) for part in network.modules() if part is not network]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def last_spatial(module: FunctionModule, image: Tensor) -> str:
    """The name of the last layer that gives several values at more than one location: maps, or tokens.

    A layer that is called several times in a forward, such as one ReLU for all blocks, gives no one map.

    Raises: ValueError when no such layer exists.
    """
    order: list[str] = []
    calls: Counter[str] = Counter()

    def note(name: str, output: Any) -> None:
        calls[name] += 1
        if isinstance(output, Tensor) and output.ndim > 2 and output.shape[1:].numel() > max(output.shape[1:]):
            order.append(name)

    layers = [(name, layer) for name, layer in module.network.named_modules() if name]
    handles = [
        layer.register_forward_hook(lambda _, __, output, name=name: note(name, output)) for name, layer in layers
    ]
    try:
        with torch.no_grad():
            module.uncounted(image)
    finally:
        for handle in handles:
            handle.remove()
    if not order:
        raise ValueError("explainer GradCamExplainer: no layer of the network gives maps of more than one cell")
    return next((name for name in reversed(order) if calls[name] == 1), order[-1])
