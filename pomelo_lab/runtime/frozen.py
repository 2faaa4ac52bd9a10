"""The frozen runtime: TorchScript with constant weights."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from pomelo_lab.runtime.base import Answer, OneTensor, Runtime, ensure_traceable


class Frozen(Runtime):
    """A traced network whose weights are constants, so that normalisations are folded into convolutions.

    Source: `torch.jit.trace`, `freeze` and `optimize_for_inference`.
    """

    name = "frozen"
    devices = frozenset({"cpu"})

    def prepare(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Answer:
        ensure_traceable(network, inputs)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, about values that become constants: answers are compared
            traced = torch.jit.trace(OneTensor(network).eval(), inputs, check_trace=False)
            return torch.jit.optimize_for_inference(torch.jit.freeze(traced))
