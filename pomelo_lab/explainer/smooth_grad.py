"""SmoothGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from pomelo_lab.config.hints import Count, Positive
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gradient import GradientExplainer
from pomelo_lab.explainer.gradient_mean import PointDraws, sum_gradients


@dataclass(kw_only=True)
class SmoothGradExplainer(GradientExplainer):
    """The mean gradient over noisy copies of the image.

    Source: Smilkov et al. (2017), https://arxiv.org/abs/1706.03825. Departures: none. It is written out, because
        captum's NoiseTunnel draws random numbers for a whole batch. Maps are magnitudes, which the paper advises where
        the sign of a gradient says nothing about the class.
    Args:
        n_draws: noisy copies.
        sigma: deviation of the noise, in image units.
    Cost: n_draws forward and backward passes per image.
    Random: noise per image ("smooth_grad").
    """

    channels: Literal["sum", "sum_abs", "max_abs"] = "sum_abs"
    n_draws: Count = 50
    sigma: Positive = 0.15

    def values(self, module: nn.Module, case: Case) -> Tensor:
        image, size = case.batch.image, (self.n_draws, *case.batch.image.shape[1:])
        noise = PointDraws(
            case.batch.image_id, lambda name: case.streams.normal([name], "smooth_grad", *size, device=image.device)
        )

        def points(row: Tensor, point: Tensor) -> tuple[Tensor, float]:
            return image[row] + self.sigma * noise(row, point), 1 / self.n_draws

        return sum_gradients(module, case, self.n_draws, points)

    @property
    def n_points(self) -> int:
        return self.n_draws
