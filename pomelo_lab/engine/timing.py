"""How long networks take on this machine, from which a plan estimates its time: a forward pass of each network, and a
backward pass where gradients go through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pomelo_lab.batching import ROWS, MicroBatches, in_full_rows
from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.generator.base import EvaluationCounter, Generator

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.plan import Ask

CALLS = 3
LONG = 2.0  # seconds after which a call is not repeated
AT_ONCE = 16  # images of the measured forward
SLOW = 0.25  # seconds that a forward may take per image before more than ROWS of them are tried
_measured: WeakKeyDictionary[nn.Module, dict[bool, float]] = WeakKeyDictionary()


def seconds(ask: Ask, job: Job) -> float | None:
    """Estimated seconds that a network takes; None for a user's function and for a network that would be compiled
    first."""
    network = ask.network
    if not isinstance(network, NetworkClassifier | Generator) or getattr(network, "compile", False):
        return None
    shape = network.shape if isinstance(network, Generator) else job.parts.dataset.shape
    return ask.n * per_image(network, shape, ask.backward, job.parts.batch_size, job.parts.device)


def per_image(
    network: Any, shape: tuple[int, int, int], backward: bool, batch_size: int, device: torch.device
) -> float:
    """Seconds per image of a forward (and backward) pass, measured once per network.

    It is measured on ROWS images, and on more at once where that is fast.
    """

    def ask(images: Tensor) -> Tensor:
        given = images.requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            answer = (
                network.one_forward(given) if isinstance(network, Generator) else in_full_rows(network.logit, given)
            )
            return torch.autograd.grad(answer.sum(), given)[0] if backward else answer

    known, counted = _measured.setdefault(network.network, {}), EvaluationCounter.n
    if backward not in known:
        for n in sorted({min(batch_size, ROWS), min(batch_size, AT_ONCE)}):
            if known.get(backward, 0.0) < SLOW:
                known[backward] = measure(ask, shape, n, device)
        EvaluationCounter.n = counted  # measuring counts for nothing
    return known[backward]


def measure(ask: Callable[[Tensor], Tensor], shape: tuple[int, int, int], n: int, device: torch.device) -> float:
    """Seconds per image of a call on n gray images: the shortest of CALLS calls, or of fewer after a long one.

    The first call also prepares the network, and other processes may slow a call down.
    """
    images, forwards, taken = torch.full((n, *shape), 0.5, device=device), MicroBatches(n), []
    while len(taken) < CALLS and max(taken, default=0.0) < LONG:
        start = time.perf_counter()
        forwards(ask, images.clone())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken) / n
