"""Guided backpropagation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gradient import GradientExplainer
from pomelo_lab.explainer.operators import RECTIFIERS, Call, Refused, Rules, Value, derivative, run_by


@dataclass(kw_only=True)
class GuidedBackpropExplainer(GradientExplainer):
    """The gradient, of which every rectifier passes only positive parts back.

    Source: Springenberg et al. (2015), https://arxiv.org/abs/1412.6806, section 3.4: an entry passes back if neither
        the unit's input nor the incoming gradient is negative. Layers that do not rectify have their ordinary gradient.
        On networks of ReLU modules the map equals captum's. Departures: maps are magnitudes, because the sign of a
        gradient means brighter or darker, not for or against the target; channels=sum is captum's answer. Rectifiers
        other than ReLU, which the paper does not have, apply both masks and multiply by their derivative: ReLU6, leaky
        ReLU, PReLU, ELU, CELU, SELU, GELU, SiLU, Hardswish, Mish, softplus. Gates (sigmoid, tanh, hard sigmoid) are not
        rectifiers. Clamps from 0 and maxima with a constant 0 are ReLUs. A comparison that is cast to numbers before it
        multiplies is not detected, and keeps its ordinary gradient.
    Args: channels: see GradientExplainer.
    Cost: one forward and one backward pass per image.
    Raises: ValueError when the network has no rectifier, because the map would be the plain gradient. ValueError also
        when the network selects values by a comparison of values, as in x * (x > 0), which may be a rectifier or an
        operation without a rule.
    """

    revision: ClassVar[int] = 2  # 1 guided ReLU modules alone

    channels: Literal["sum", "sum_abs", "max_abs"] = "sum_abs"

    def values(self, module: nn.Module, case: Case) -> Tensor:
        image = case.batch.image.detach().requires_grad_(True)
        answer = answer_guided(module, image).gather(1, case.target[:, None])
        return torch.autograd.grad(answer.sum(), image)[0]

    @classmethod
    @torch.no_grad()
    def check_network(cls, given: Mapping[str, Any], classifier: WhiteBox, image: Tensor) -> None:
        answer_guided(classifier.module(given["answer"]), image)


class GuidedRules(Rules):
    """Rectifiers pass positive parts back where their input is positive."""

    method = "GuidedBackpropExplainer"

    def __init__(self) -> None:
        self.rectified = 0

    def answer(self, call: Call) -> Any:
        if call.name in ("mul", "where", "masked_fill") and any(boolean(call.args[i]) for i in call.carried):
            raise Refused(f"calls {call.name} with a comparison of values that depend on the image: write it as a ReLU")
        call = as_relu(call)
        if not rectifies(call):
            return call.plain()
        self.rectified += 1
        x = call.args[0]
        with torch.no_grad():
            value = call.of(x)
            slope = torch.where(x > 0, derivative(call, x), 0.0)
        return Value.apply(slope * x, value, True)


def answer_guided(module: nn.Module, images: Tensor) -> Tensor:
    """The answers for images under the rules. Raises: Refused when the network has no rectifier."""
    rules = GuidedRules()
    answer = run_by(rules, module, images)
    if not rules.rectified:
        raise Refused(
            f"explainer {rules.method} has no rule for this network: it calls no rectifier, and the map "
            f"would be the plain gradient"
        )
    return answer


def rectifies(call: Call) -> bool:
    """Whether an operator is a rectifier. Clamps from 0, with or without an upper bound (ReLU6), count as well."""
    if call.carried != {0}:
        return False
    if call.name == "hardtanh":
        return call.argument(1, "min_val", -1) == 0
    if call.name == "threshold":
        return call.argument(1, "threshold", None) == 0 and call.argument(2, "value", None) == 0
    if call.name in ("clamp", "clamp_min"):
        most = call.argument(2, "max", None)
        return zero(call.argument(1, "min", None)) and (most is None or bool(torch.as_tensor(most > 0).all()))
    return call.name in RECTIFIERS


def as_relu(call: Call) -> Call:
    """Converts a maximum of values and a constant 0 to a ReLU. Other calls are returned unchanged."""
    if call.name != "maximum" or len(call.carried) != 1:
        return call
    (position,) = call.carried
    x, other = call.args[position], call.args[1 - position]
    if (
        not zero(other)
        or torch.broadcast_shapes(x.shape, other.shape) != x.shape
        or torch.result_type(x, other) != x.dtype
    ):
        return call
    return Call("relu", torch.ops.aten.relu.default, (x,), {}, frozenset({0}))


def zero(value: Any) -> bool:
    """Whether a bound is 0 everywhere."""
    return value is not None and bool(torch.as_tensor(value == 0).all())


def boolean(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bool
