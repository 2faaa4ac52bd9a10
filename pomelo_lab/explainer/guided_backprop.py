"""Guided backpropagation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.explainer.gradient import GradientExplainer
from pomelo_lab.explainer.operators import RECTIFIERS, Call, Refused, Rules, Value, derivative, run_by
from pomelo_lab.types import Batch


@dataclass(kw_only=True)
class GuidedBackpropExplainer(GradientExplainer):
    """The gradient, of which every rectifier lets only positive parts pass back.

    Source: Springenberg et al. (2015), https://arxiv.org/abs/1412.6806, section 3.4: an entry goes back where neither the unit's input nor what
        comes from above is negative; layers that do not rectify have their ordinary gradient. On networks of ReLU modules the map is captum's.
        Departures: a gradient's sign says brighter or darker, not for or against the target, so maps are magnitudes; channels=sum is captum's
        answer. Rectifiers beyond ReLU, which that paper does not have, keep both masks and multiply by their derivative: ReLU6, leaky ReLU, PReLU,
        ELU, CELU, SELU, GELU, SiLU, Hardswish, Mish, softplus. Gates (sigmoid, tanh, hard sigmoid) are no rectifiers.
    Args: channels: see GradientExplainer.
    Cost: a forward and a backward per image.
    Raises: ValueError when the network has no rectifier, since the map would be the gradient.
    """

    channels: Literal["sum", "sum_abs", "max_abs"] = "sum_abs"

    def values(self, module: nn.Module, batch: Batch, target: Tensor, streams: Streams, **more: Any) -> Tensor:
        image = batch.image.detach().requires_grad_(True)
        answer = guided(module, image).gather(1, target[:, None])
        return torch.autograd.grad(answer.sum(), image)[0]

    @classmethod
    @torch.no_grad()
    def check_network(cls, given: Mapping[str, Any], classifier: WhiteBox, image: Tensor) -> None:
        guided(classifier.module(given["answer"]), image)


class GuidedRules(Rules):
    """Rectifiers let positive parts pass back where their input is positive."""

    method = "GuidedBackpropExplainer"

    def __init__(self) -> None:
        self.rectified = 0

    def answer(self, call: Call) -> Any:
        if not rectifies(call):
            return call.plain()
        self.rectified += 1
        x = call.args[0]
        with torch.no_grad():
            value = call.of(x)
            slope = torch.where(x > 0, derivative(call, x), 0.0)
        return Value.apply(slope * x, value, True)


def guided(module: nn.Module, images: Tensor) -> Tensor:
    """The answers for images, under the rules. Raises Refused when there was nothing to guide."""
    rules = GuidedRules()
    answer = run_by(rules, module, images)
    if not rules.rectified:
        raise Refused(f"explainer {rules.method} has no rule for this network: it calls no rectifier, and the map would be the plain gradient")
    return answer


def rectifies(call: Call) -> bool:
    """Whether an operator is a rectifier: those that are nothing else, and clamps from 0 up to a bound of their own (ReLU6) or without one."""
    if call.carried != {0}:
        return False
    if call.name == "hardtanh":
        return call.argument(1, "min_val", -1) == 0
    if call.name == "threshold":
        return call.argument(1, "threshold", None) == 0 and call.argument(2, "value", None) == 0
    if call.name in ("clamp", "clamp_min"):
        return call.argument(1, "min", None) == 0 and call.argument(2, "max", None) is None
    return call.name in RECTIFIERS
