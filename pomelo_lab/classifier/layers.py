"""The layers of a network: by name, in order, and the hooks that read or stop at them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


def list_stages(network: nn.Module, at_least: int = 4) -> tuple[str, ...]:
    """Names of the parts of a network that have weights, from the last to the first.

    The parts are the network's children. Where there are fewer than `at_least` of them (VGG and DenseNet have
    `features` and `classifier`), the parts are the children of those children that are sequences.
    """
    parts = weighted_children(network)
    if len(parts) >= at_least:
        return tuple(reversed(parts))
    names = []
    for name, part in parts.items():
        inner = weighted_children(part) if isinstance(part, nn.Sequential) else {}
        names += [f"{name}.{child}" for child in inner] or [name]
    return tuple(reversed(names))


def weighted_children(network: nn.Module) -> dict[str, nn.Module]:
    """The children of a module that have weights, by name."""
    return {name: part for name, part in network.named_children() if any(True for _ in part.parameters())}


def named_layer(network: nn.Module, name: str) -> nn.Module:
    """One named module of a network. Raises ValueError listing near names."""
    from pomelo_lab.config.signature import did_you_mean

    known = dict(network.named_modules())
    if name not in known:
        near, names = did_you_mean(name, known), ", ".join(list(known)[1:])
        raise ValueError(f"layer {name!r} does not exist in {type(network).__name__}{near}; known: {names}")
    return known[name]


@contextmanager
def capture_input(module: nn.Module) -> Iterator[list[Tensor]]:
    """A list that receives the first input of every forward of `module` inside the block."""
    inputs: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    try:
        yield inputs
    finally:
        handle.remove()


class FunctionModule(nn.Module):
    """A function of images as a torch module that contains the network behind it.

    Args:
        answer: the function; its images are counted.
        uncounted: the same without counting, for a look at the layers; None = `answer`.
    """

    def __init__(
        self,
        network: nn.Module,
        answer: Callable[[Tensor], Tensor],
        uncounted: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.answer, self.uncounted = network, answer, uncounted or answer

    def forward(self, images: Tensor) -> Tensor:
        return self.answer(images)


class StopForward(Exception):
    """Raised by a hook that ends a forward at a layer. Carries the layer's output."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output
