"""Expected gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pomelo_lab.config.hints import Count, NonNegative
from pomelo_lab.explainer.gradient import BaselineCase, BaselineExplainer
from pomelo_lab.explainer.gradient_mean import PointDraws, sum_gradients


@dataclass(kw_only=True)
class GradientShapExplainer(BaselineExplainer):
    """Gradients at random points between the baseline and noisy copies of the image, times their difference, averaged.

    Source: Lundberg & Lee (2017); Erion et al. (2021), https://arxiv.org/abs/1906.10670, as captum's GradientShap.
        Departures: none. It is written out, because captum draws random numbers for a whole batch.
    Args:
        n_draws: random points.
        sigma: deviation of the noise, in image units.
    Cost: n_draws forward and backward passes per image.
    Random: points and noise per image ("gradient_shap.*").
    """

    n_draws: Count = 50
    sigma: NonNegative = 0.0

    def values(self, module: nn.Module, case: BaselineCase) -> Tensor:
        image, names, streams = case.batch.image, case.batch.image_id, case.streams.named("gradient_shap")
        n, size, device = self.n_draws, image.shape[1:], image.device
        noise = PointDraws(names, lambda name: streams.normal([name], "noise", n, *size, device=device))
        share = PointDraws(names, lambda name: streams.uniform([name], "share", n, 1, 1, 1, device=device))

        def points(row: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
            baseline = case.baseline[row]
            way = image[row] + self.sigma * noise(row, point) - baseline
            return baseline + share(row, point) * way, way / self.n_draws

        return sum_gradients(module, case, self.n_draws, points)

    @property
    def n_points(self) -> int:
        return self.n_draws
