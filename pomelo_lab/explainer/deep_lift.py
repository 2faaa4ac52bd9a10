"""DeepLIFT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.explainer.gradient import BaselineCase, BaselineExplainer
from pomelo_lab.explainer.operators import Call, Refused, Rules, Value, derivative, run_by

SMALLEST = 1e-10  # below this difference of inputs the derivative replaces the quotient, as in captum


@dataclass(kw_only=True)
class DeepLiftExplainer(BaselineExplainer):
    """Propagates the differences of all units from their values on the baseline back to the pixels. The attributions
    sum to the difference of the answers.

    Source: Shrikumar et al. (2017), https://arxiv.org/abs/1704.02685: linear rule and rescale rule (eq. 8 to 12). Every
        elementwise function gets the rescale rule, whether a module or a function applies it. On networks of ReLU
        modules the map equals captum's. Departures, where the paper has no rule: max pooling as in captum and SHAP (the
        difference goes to the larger of both maxima). The product of two units, as in a gate, is divided evenly, d(ab)
        = da (b + b0)/2 + db (a + a0)/2, the Shapley value of two players, as in SHAP's DeepExplainer (Lundberg & Lee
        2017).
    Cost: two forward passes and one backward pass per image.
    Raises: ValueError, which names the module, for operators without a rule that keeps the sum: normalisation over the
        values of one image (LayerNorm, GroupNorm), softmax and attention, and every unknown operator.
    """

    revision: ClassVar[int] = 2  # 1 had a rule for ReLU modules alone

    def values(self, module: nn.Module, case: BaselineCase) -> Tensor:
        n, image = len(case), case.batch.image
        both = torch.cat([image, case.baseline]).detach().requires_grad_(True)
        answer = run_by(RescaleRules(), module, both)[:n].gather(1, case.target[:, None])
        return torch.autograd.grad(answer.sum(), both)[0][:n] * (image - case.baseline)

    @classmethod
    @torch.no_grad()
    def check_network(cls, given: Mapping[str, Any], classifier: WhiteBox, image: Tensor) -> None:
        run_by(RescaleRules(), classifier.module(given["answer"]), torch.cat([image, image]))

    @property
    def copies(self) -> int:
        return 2


class RescaleRules(Rules):
    """Multipliers of units. The first half of each tensor holds the images, the second half the baselines."""

    method = "DeepLiftExplainer"

    def answer(self, call: Call) -> Any:
        if call.linear:
            return call.plain()
        if call.elementwise:
            return rescaled(call)
        if call.name == "mul" and call.carried == {0, 1}:
            return product(*call.args)
        if call.name == "div" and call.carried <= {0, 1} and not call.kwargs:
            inverse = rescaled(Call("reciprocal", torch.reciprocal, call.args[1:], {}, frozenset({0})))
            return product(call.args[0], inverse) if call.carried == {0, 1} else call.args[0] * inverse
        if call.name in ("max_pool2d_with_indices", "adaptive_max_pool2d"):
            return max_pooled(call)
        raise Refused(f"calls {call.name}, which neither the linear nor the rescale rule covers")


def rescaled(call: Call) -> Tensor:
    """An elementwise function whose gradient is the quotient of the differences of its output and its input."""
    x = call.args[0]
    with torch.no_grad():
        value = call.of(x)
        before, after = halves(x), halves(value)
        rise, run = after[0] - after[1], before[0] - before[1]
        flat = run.abs() < SMALLEST
        slope = torch.where(flat, derivative(call, before[0]), rise / torch.where(flat, 1.0, run))
    return Value.apply(torch.cat([slope, slope]) * x, value)


def product(a: Tensor, b: Tensor) -> Tensor:
    """The product a * b. Half of the difference is propagated with each factor fixed at its mean between image and
    baseline."""
    return Value.apply(a * middle(b) + b * middle(a), a * b)


def middle(x: Tensor) -> Tensor:
    """The mean of image and baseline, for both halves."""
    mean = sum(halves(x.detach())) / 2
    return torch.cat([mean, mean])


def max_pooled(call: Call) -> tuple[Tensor, Tensor]:
    """Max pooling. The difference goes to the cell of the image's maximum if that is the larger one, otherwise to the
    cell of the baseline's maximum.

    Several cells may share a maximum (a uniform baseline). If the cell of the other maximum is among them, it is used.
    """
    x = call.args[0]
    with torch.no_grad():
        value, index = call.of(x)
        (seen, before), (y, reference) = (half.flatten(2) for half in halves(x)), halves(value.flatten(2))
        first, second = halves(index.flatten(2))
        second = torch.where(before.gather(2, first) == reference, first, second)
        first = torch.where(seen.gather(2, second) == y, second, first)
        rise, run = y - reference, seen - before
        limit = (rise == 0).to(rise)  # a cell whose value did not change gets the whole derivative
    linear = 0
    for part, edge, cell in ((rise.clamp_min(0), limit, first), (rise.clamp_max(0), 0 * limit, second)):
        run_at_cell = run.gather(2, cell)
        flat = run_at_cell.abs() < SMALLEST
        linear = linear + torch.where(flat, edge, part / torch.where(flat, 1.0, run_at_cell)) * halves(x)[0].flatten(
            2
        ).gather(2, cell)
    linear = linear.view_as(value[: len(linear)])
    return Value.apply(torch.cat([linear, linear.detach()]), value), index


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the images and those of the baselines."""
    return x[: len(x) // 2], x[len(x) // 2 :]
