"""Integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from pomelo_lab.config.hints import Count, NonNegative
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.gradient import BaselineCase, BaselineExplainer
from pomelo_lab.explainer.gradient_mean import sum_gradients


@dataclass(kw_only=True)
class IntegratedGradientsExplainer(BaselineExplainer):
    """The mean gradient along the straight line from the baseline to the image, times their difference.

    Source: Sundararajan et al. (2017), https://arxiv.org/abs/1703.01365; captum. Section 5 of the paper advises to
        check that attributions sum to the difference of the answers (within 5 %), and to take more steps otherwise. An
        image that fails the check therefore gets twice the steps, repeatedly. Departures: none.
    Args:
        n_steps: points of the line at the start.
        method: rule of integration, with captum's names.
        gap: largest |sum of the map - difference of the answers|, as a share of that difference.
        most_steps: largest number of points of the line, even if the check still fails; n_steps or less = never more
            than n_steps.
    Cost: n_steps forward and backward passes per image; at most twice most_steps, which the plan counts.
    """

    n_steps: Count = 50
    method: Literal["gausslegendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid"] = (
        "gausslegendre"
    )
    gap: NonNegative = 0.02
    most_steps: Count = 800

    def values(self, module: nn.Module, case: BaselineCase) -> Tensor:
        values, n_steps = self.integrate(module, case, self.n_steps), 2 * self.n_steps
        while n_steps <= self.most_steps:
            error = (values.float().sum((1, 2, 3)) - case.difference).abs()
            (rows,) = (error > self.gap * case.difference.abs()).nonzero(as_tuple=True)
            if not len(rows):
                break
            values = values.index_copy(0, rows, self.integrate(module, case.select(rows.tolist()), n_steps))
            n_steps *= 2
        return values

    def integrate(self, module: nn.Module, case: BaselineCase, n_steps: int) -> Tensor:
        """Attributions [B,C,H,W] by a number of points of the line."""
        from captum.attr._utils.approximation_methods import approximation_parameters

        image, baseline = case.batch.image, case.baseline
        way = image - baseline
        weight, share = (image.new_tensor(make(n_steps)) for make in approximation_parameters(self.method))

        def points(row: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
            return baseline[row] + share[point, None, None, None] * way[row], weight[point, None, None, None]

        return sum_gradients(module, case, n_steps, points) * way

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        total, n_steps = self.n_steps, 2 * self.n_steps
        while n_steps <= self.most_steps:
            total, n_steps = total + n_steps, 2 * n_steps
        return replace(super().cost(shape), queries=total + 2, at_most=self.most_steps >= 2 * self.n_steps)
