"""The graph runtime: the kernels of a network, recorded once and started together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pomelo_lab.runtime.base import Answer, CannotPrepare, OneTensor, Runtime, ensure_traceable


class Graph(Runtime):
    """A network whose kernels a GPU starts together. Small networks otherwise wait for the processor to start each.

    Source: CUDA graphs, `torch.cuda.graph`. The rows of a call are padded to a power of two, so that few graphs serve
        all calls; graphs share one pool of memory.
    """

    name = "graph"
    devices = frozenset({"cuda"})

    def prepare(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Answer:
        if inputs[0].device.type != "cuda":
            raise CannotPrepare(f"it needs a GPU of NVIDIA, not device={inputs[0].device.type}")
        ensure_traceable(network, inputs)
        return Replayed(OneTensor(network).eval(), record)


class Replayed:
    """Answers of any number of rows by recordings of fixed numbers of rows.

    Args: record: records a network's answer to the tensors it is given, and returns the answer's tensor with a function
        that computes it anew from what those tensors then contain.
    """

    def __init__(
        self, network: nn.Module, record: Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, Callable[[], None]]]
    ) -> None:
        self.network, self.record = network, record
        self.recordings: dict[int, tuple[tuple[Tensor, ...], Tensor, Callable[[], None]]] = {}  # by the number of rows

    def __call__(self, *inputs: Tensor) -> Tensor:
        n = len(inputs[0])
        if not n:
            return self.network(*inputs)
        rows = 1 << (n - 1).bit_length()
        if rows not in self.recordings:
            # the last row is repeated, because zeros can be slower or undefined
            held = tuple(part[torch.arange(rows).clamp_max(n - 1)] if part.ndim else part.clone() for part in inputs)
            self.recordings[rows] = (held, *self.record(self.network, held))
        held, answer, replay = self.recordings[rows]
        for mine, part in zip(held, inputs, strict=True):
            (mine[:n] if part.ndim else mine).copy_(part)
        replay()
        return answer[:n].clone()


def record(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Callable[[], None]]:
    """Records a network on a GPU, after calls that let its libraries choose their kernels."""
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                network(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        recording = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recording):
            answer = network(*inputs)
    return answer, recording.replay
