"""The time of networks on this machine, from which a plan estimates the time of a job.

A forward pass of each network is timed, and a backward pass if gradients go through the network.
"""

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
from pomelo_lab.throughput import FASTEST, BatchSize

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.plan import Ask

CALLS = 3  # repeats of a timed call
LONG = 2.0  # a call that takes more seconds is not repeated
AT_ONCE = 16  # images in a timed batch, if the network is not slow
SLOW = 0.25  # a network that takes more seconds per image is timed with ROWS images only
_measured: WeakKeyDictionary[nn.Module, dict[bool, float]] = WeakKeyDictionary()


def seconds(ask: Ask, job: Job) -> float | None:
    """The estimated seconds of a network for a number of images.

    None for a user's function, and with runtime=compiled, because networks would have to be compiled first.
    """
    network = ask.network
    if not isinstance(network, NetworkClassifier | Generator) or job.parts.runtime == "compiled":
        return None
    shape = network.shape if isinstance(network, Generator) else job.parts.dataset.shape
    return ask.n * per_image(network, shape, ask.backward, job.parts.batch_size, job.parts.device)


def per_image(
    network: Any, shape: tuple[int, int, int], backward: bool, batch_size: BatchSize, device: torch.device
) -> float:
    """The seconds per image of a forward (and backward) pass, measured once per network.

    They are measured with ROWS images, and with a larger batch if the network is fast.
    """

    def ask(images: Tensor) -> Tensor:
        given = images.requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            answer = (
                network.one_forward(given) if isinstance(network, Generator) else in_full_rows(network.logit, given)
            )
            return torch.autograd.grad(answer.sum(), given)[0] if backward else answer

    most = AT_ONCE if batch_size == FASTEST else min(batch_size, AT_ONCE)
    known, counted = _measured.setdefault(network.network, {}), EvaluationCounter.n
    if backward not in known:
        for n in sorted({min(most, ROWS), most}):
            if known.get(backward, 0.0) < SLOW:
                known[backward] = measure(ask, shape, n, device)
        EvaluationCounter.n = counted  # evaluations for timing do not count
    return known[backward]


def measure(ask: Callable[[Tensor], Tensor], shape: tuple[int, int, int], n: int, device: torch.device) -> float:
    """The seconds per image of a call on n gray images.

    They are those of the fastest of several calls, because the first call also prepares the network, and other
    processes may slow down a call. After a long call there are no further calls.
    """
    images, forwards, taken = torch.full((n, *shape), 0.5, device=device), MicroBatches(n), []
    while len(taken) < CALLS and max(taken, default=0.0) < LONG:
        start = time.perf_counter()
        forwards(ask, images.clone())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken) / n
