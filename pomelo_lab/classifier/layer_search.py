"""The head and the middle layer of a network that nobody described, found in one forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

DEEPEST, SHALLOWEST = 9.0, 4.0  # the image's side divided by that of a middle layer's maps: about eight, at least four


@dataclass(frozen=True)
class Called:
    """A module that a forward called: its name, and its answer."""

    name: str
    module: nn.Module
    answer: Tensor


@contextmanager
def watch_layers(network: nn.Module) -> Iterator[list[Called]]:
    """A list of the parts of a network that answer a tensor, in the order in which they finish."""
    calls: list[Called] = []

    def note(name: str, module: nn.Module, answer: Any) -> None:
        if isinstance(answer, Tensor):
            calls.append(Called(name, module, answer.detach()))

    handles = [
        part.register_forward_hook(lambda module, _, answer, name=name: note(name, module, answer))
        for name, part in network.named_modules()
        if name
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def find_head(calls: list[Called], logits: Tensor) -> str | None:
    """The name of the last linear layer, or convolution, whose answer is the logits.

    If there is none, it is the last with as many outputs as there are logits, because a network may scale or average
    its answers. None when there is none either.
    """
    heads = [
        call
        for call in calls
        if isinstance(call.module, (nn.Linear, nn.Conv2d)) and call.answer.numel() == logits.numel()
    ]
    exact = [call for call in heads if torch.allclose(call.answer.reshape(logits.shape).float(), logits, atol=1e-6)]
    return (exact or heads or [None])[-1] and (exact or heads)[-1].name


def find_middle(calls: list[Called], side: int) -> str | None:
    """The name of the outermost layer whose maps have about an eighth of the image's side, else up to a quarter.

    It is the last of these. None for a network of tokens.

    Args: side: the smaller side of the images that the network was given.
    """
    maps = [call for call in calls if call.answer.ndim == 4 and min(call.answer.shape[-2:]) > 1]
    shrunk = {call.name: side / min(call.answer.shape[-2:]) for call in maps}
    fit = [call for call in maps if SHALLOWEST <= shrunk[call.name] < DEEPEST]
    if not fit:
        return None
    deepest = max(shrunk[call.name] for call in fit)
    fit = [call for call in fit if shrunk[call.name] == deepest]
    outermost = min(call.name.count(".") for call in fit)
    return [call.name for call in fit if call.name.count(".") == outermost][-1]
