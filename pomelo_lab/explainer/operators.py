"""Runs a network operator by operator, so that a method can propagate gradients through each operator by its own rule.

Hooks on modules miss activations that are called as functions, and count a module that is called twice as one. This
module sees every ATen operator that depends on the image, whether a module, a function or an in-place activation calls
it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.overrides import enable_reentrant_dispatch

# elementwise operators of one input
RECTIFIERS = frozenset("relu leaky_relu _prelu_kernel elu celu gelu silu hardswish mish softplus".split())
ELEMENTWISE = RECTIFIERS | frozenset(
    """hardtanh clamp clamp_min clamp_max threshold sigmoid hardsigmoid tanh log_sigmoid_forward softshrink
    hardshrink relu6 exp expm1 exp2 log log1p log2 sqrt rsqrt reciprocal square pow abs sin cos erf atan""".split()
)
# operators that are linear in all inputs together
LINEAR = frozenset(
    """add sub rsub neg cat stack sum mean view _unsafe_view reshape permute transpose t expand slice select
    unsqueeze squeeze clone detach alias _to_copy contiguous split split_with_sizes chunk unbind constant_pad_nd
    reflection_pad2d replication_pad2d avg_pool2d _adaptive_avg_pool2d upsample_nearest2d upsample_bilinear2d
    _upsample_bilinear2d_aa upsample_bicubic2d roll flip repeat pixel_shuffle pixel_unshuffle channel_shuffle
    native_channel_shuffle as_strided unfold im2col diagonal cumsum lift_fresh lift_fresh_copy copy
    slice_scatter select_scatter unsafe_split unsafe_chunk movedim squeeze_copy""".split()
)
# operators that are linear in these positional arguments together, with the others fixed
LINEAR_IN: dict[str, tuple[frozenset[int], ...]] = {
    **{
        name: (frozenset({0}),)
        for name in ("div", "convolution", "masked_fill", "index", "index_select", "gather", "mv", "linear")
    },
    **{name: (frozenset({0}), frozenset({1})) for name in ("mul", "mm", "bmm", "matmul")},
    **{name: (frozenset({0, 1}), frozenset({0, 2})) for name in ("addmm", "baddbmm")},
    "where": (frozenset({1, 2}),),
}
NORMS = frozenset("native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit_no_training".split())
INDEPENDENT = frozenset(
    "zeros_like ones_like empty_like full_like rand_like new_zeros new_ones new_empty new_full "
    "new_empty_strided".split()
)


class Refused(ValueError):
    """A network that contains an operator for which a method has no rule."""


@dataclass(frozen=True)
class Call:
    """One operator applied to values. `carried` holds the positions of the arguments that depend on the image."""

    name: str  # name without namespace and overload: relu, convolution, mul
    operator: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    carried: frozenset[int]

    def plain(self) -> Any:
        """The operator's output with its ordinary gradient."""
        return self.operator(*self.args, **self.kwargs)

    def of(self, x: Tensor) -> Tensor:
        """The operator applied to another first argument."""
        return self.operator(x, *self.args[1:], **self.kwargs)

    def argument(self, position: int, name: str, default: Any) -> Any:
        """An argument by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    @property
    def elementwise(self) -> bool:
        """Whether each value of the output is a non-linear function of one value of the input."""
        return self.name in ELEMENTWISE and self.carried == {0}

    @property
    def linear(self) -> bool:
        """Whether the operator is linear in the arguments that depend on the image, up to a constant."""
        if self.kwargs.get("rounding_mode") is not None:  # a division with rounding is not linear
            return False
        if self.name in NORMS:
            return self.carried == {0} and (self.name.endswith("no_training") or not self.args[5])
        return self.name in LINEAR or any(self.carried <= places for places in LINEAR_IN.get(self.name, ()))


class Rules(ABC):
    """A method's rule for each operator.

    method: the method's name, for error messages.
    """

    method: ClassVar[str]

    @abstractmethod
    def answer(self, call: Call) -> Any:
        """The operator's output, with a graph that propagates gradients by the method's rule.

        Raises: Refused, with the reason, when the method has no rule.
        """


@dataclass
class Views:
    """Tensors that share memory. A change of one of them in place invalidates the others."""

    version: int = 0


@dataclass
class Run:
    """One forward pass under the rules, and the modules that are running."""

    rules: Rules
    inside: list[str] = field(default_factory=list)
    grad: bool = field(default_factory=torch.is_grad_enabled)

    def refuse(self, reason: str) -> Refused:
        where = self.inside[-1] if self.inside else "the answer, behind the network's last module,"
        return Refused(f"explainer {self.rules.method} has no rule for this network: {where} {reason}")

    def __call__(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = operator.name().partition("::")[2].partition(".")[0]
        if operator._schema.is_mutable:
            return self.in_place(name, operator, args, kwargs)
        if name in INDEPENDENT:
            return operator(*values(args), **kwargs)
        result = self.answer(name, operator, args, kwargs)
        if name == "sigmoid":
            return Carried(result, self, sigmoid_of=(args[0], args[0].version))
        views = args[0].views if operator.is_view and isinstance(args[0], Carried) else None
        return each(partial(self.wrapped, views=views), result)

    def answer(self, name: str, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        carried = frozenset(
            i for i, value in enumerate(args) if any(isinstance(inner, Carried) for inner in flat(value))
        )
        stale = [
            inner
            for value in args
            for inner in flat(value)
            if isinstance(inner, Carried) and inner.version != inner.views.version
        ]
        if stale:
            raise self.refuse(f"calls {name} on a view of a tensor that was changed in place")
        if name == "mul" and carried == {0, 1} and (unit := find_swish_input(*args)) is not None:
            name, operator, args, carried = "silu", torch.ops.aten.silu.default, (unit,), frozenset({0})
        # also inside autograd functions with a custom backward
        with enable_reentrant_dispatch(), torch.set_grad_enabled(self.grad):
            try:
                return self.rules.answer(Call(name, operator, values(args), kwargs, carried))
            except Refused as refused:
                raise self.refuse(str(refused)) from None

    def in_place(self, name: str, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs an in-place operator out of place, because the backward pass needs the previous values."""
        target, packet = args[0], getattr(torch.ops.aten, name.removesuffix("_"), None)
        overload = getattr(packet, operator._overloadname, None) if name.endswith("_") else None
        if not isinstance(target, Carried) or overload is None:
            raise self.refuse(f"calls {name}, which writes into a tensor that does not depend on the image")
        if name == "as_strided_" and list(args[1]) == list(target.shape):
            return target  # the same values with another memory layout
        target.value = self.answer(name.removesuffix("_"), overload, args, kwargs)
        target.views.version += 1
        target.version = target.views.version
        return target

    def wrapped(self, value: Any, views: Views | None = None) -> Any:
        return Carried(value, self, views) if isinstance(value, Tensor) else value


class Carried(Tensor):
    """A tensor that depends on the images.

    value: the tensor's values.
    sigmoid_of: the tensor whose sigmoid it is, and that tensor's version.
    """

    value: Tensor
    run: Run
    views: Views
    version: int
    sigmoid_of: tuple[Carried, int] | None

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(
        cls, value: Tensor, run: Run, views: Views | None = None, sigmoid_of: tuple[Carried, int] | None = None
    ) -> Carried:
        about = {"dtype": value.dtype, "layout": value.layout, "device": value.device}
        made = Tensor._make_wrapper_subclass(
            cls, value.size(), strides=value.stride(), storage_offset=value.storage_offset(), **about
        )
        made.value, made.run, made.views = value, run, views or Views()
        made.version, made.sigmoid_of = made.views.version, sigmoid_of
        return made

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        run = next(
            inner.run
            for value in (*args, *(kwargs or {}).values())
            for inner in flat(value)
            if isinstance(inner, Carried)
        )
        return run(operator, args, kwargs or {})


def find_swish_input(a: Carried, b: Carried) -> Carried | None:
    """The x of a product x * sigmoid(x), which is SiLU written out; None for other products."""
    for x, gate in ((a, b), (b, a)):
        if (
            gate.sigmoid_of is not None
            and gate.sigmoid_of[0] is x
            and gate.sigmoid_of[1] == x.version
            and gate.version == 0
        ):
            return x
    return None


def flat(value: Any) -> Iterator[Any]:
    """A single value as a list, or the elements of a list."""
    yield from value if isinstance(value, (list, tuple)) else (value,)


def each(change: Callable[[Any], Any], value: Any) -> Any:
    """Applies `change` to a value, or to each element of a list."""
    return type(value)(change(inner) for inner in value) if isinstance(value, (list, tuple)) else change(value)


def values(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replaces carried tensors in the arguments by their values."""
    return tuple(each(lambda inner: inner.value if isinstance(inner, Carried) else inner, value) for value in args)


def run_by(rules: Rules, module: nn.Module, images: Tensor) -> Tensor:
    """The module's answer to images [M,C,H,W], with a graph that propagates gradients by the rules.

    Raises: Refused, which names the method, the module and the operator without a rule.
    """
    run = Run(rules)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it runs a layer as one operator without a gradient
    try:
        with record_modules(module, run.inside):
            answer = module(Carried(images, run))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return answer.value


@contextmanager
def record_modules(module: nn.Module, inside: list[str]) -> Iterator[None]:
    """Keeps the names of the running submodules in `inside`, the innermost last."""
    handles = []
    for name, part in module.named_modules():
        label = f"{name.removeprefix('network.')} ({type(part).__name__})"
        if name and name != "network":
            handles.append(part.register_forward_pre_hook(lambda _, __, label=label: inside.append(label)))
            handles.append(part.register_forward_hook(lambda _, __, ___: inside.pop() and None))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Value(torch.autograd.Function):
    """Returns the second input in the forward pass and sends the gradient to the first: the value of a unit, and the
    quantity that its rule propagates.

    With `positive`, only positive parts of the incoming gradient are propagated.
    """

    @staticmethod
    def forward(ctx: Any, linear: Tensor, value: Tensor, positive: bool = False) -> Tensor:
        ctx.positive = positive
        return value.detach().clone()

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        return above.clamp_min(0) if ctx.positive else above, None, None


def derivative(call: Call, x: Tensor) -> Tensor:
    """The derivative of an elementwise operator at x, in the shape of x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad(call.of(x).sum(), x)[0]
