"""The base class of runtimes, and the answers of a network as one tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

Answer = Callable[..., Tensor]


class CannotPrepare(RuntimeError):
    """A runtime cannot compute a network, in words that follow the runtime's name and a colon."""


class Runtime(ABC):
    """Computes a frozen network.

    name:    as in `runtime=<name>`.
    devices: types of device on which `auto` tries it.
    """

    name: ClassVar[str]
    devices: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def prepare(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> Answer:
        """A function that answers as the network does, for any number of rows.

        Args: inputs: as the network gets them; all but the number of rows stays fixed.
        Raises: CannotPrepare. Any other error is that of the library.
        """


class OneTensor(nn.Module):
    """A network whose answer is one tensor: diffusers' networks wrap theirs in an object."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        # without the hooks of the whole network, which its caller runs
        output = type(self.network).forward(self.network, *inputs)
        return output if isinstance(output, Tensor) else output.sample
