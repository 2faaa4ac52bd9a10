"""The compiled runtime: torch.compile."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pomelo_lab.runtime.base import Answer, OneTensor, Runtime


class Compiled(Runtime):
    """A network that torch compiles, which takes a minute or two on a CPU.

    Source: `torch.compile`, for any number of rows.
    """

    name = "compiled"

    def prepare(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Answer:
        return torch.compile(OneTensor(network).eval(), dynamic=True)
