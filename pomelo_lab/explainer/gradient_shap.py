"""Expected gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pomelo_lab.config.hints import Count, NonNegative
from pomelo_lab.explainer.gradient import BaselineCase, BaselineExplainer, gradient


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
        image, image_id, baseline = case.batch.image, case.batch.image_id, case.baseline[:, None]
        noise = case.streams.normal(image_id, "gradient_shap.noise", self.n_draws, *image.shape[1:]).to(image)
        share = case.streams.uniform(image_id, "gradient_shap.share", self.n_draws, 1, 1, 1).to(image)
        way = image[:, None] + self.sigma * noise - baseline
        points = (baseline + share * way).flatten(0, 1)
        slopes = gradient(module, points, case.target.repeat_interleave(self.n_draws)).unflatten(0, (len(image), -1))
        return (slopes * way).mean(1)

    @property
    def copies(self) -> int:
        return self.n_draws
