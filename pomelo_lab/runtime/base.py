"""The base class of runtimes, and the answers of a network as one tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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


def one_tensor(answer: Any) -> Tensor:
    """The tensor of a network's answer: itself, or the one that Hugging Face's and diffusers' networks wrap.

    Raises: ValueError for any other answer.
    """
    if isinstance(answer, Tensor):
        return answer
    for name in ("logits", "sample"):
        if isinstance(getattr(answer, name, None), Tensor):
            return getattr(answer, name)
    raise ValueError(f"a network must answer a tensor, or an object with logits, got {type(answer).__name__}")


class OneTensor(nn.Module):
    """A network whose answer is one tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        # without the hooks of the whole network, which its caller runs
        return one_tensor(type(self.network).forward(self.network, *inputs))


class RefuseValues(TorchDispatchMode):
    """A context in which a network cannot read a value of a tensor, as an `if` on a pixel or `.item()` does.

    A trace would keep the branch that its own images took, and answer wrongly where other images take another.

    Raises: RuntimeError.
    """

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operator is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the network's computation depends on values, such as an `if` on a pixel")
        return operator(*args, **(kwargs or {}))


def ensure_traceable(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Raises RuntimeError when a trace would not hold for other images: one row is computed without a trace."""
    with torch.no_grad(), RefuseValues():
        OneTensor(network)(*(part[:1] if part.ndim else part for part in inputs))
