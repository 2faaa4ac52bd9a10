"""IBA: attribution by an information bottleneck at a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, Positive
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.bottleneck import FeatureBottleneck, bits, bottleneck_map, layer_statistics
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import record
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class IBAExplainer(Explainer):
    """Measures the bits per location that a layer must transmit for the target to stay predicted. Noise replaces all
    other information.

    Source: Schulz et al. (2020), https://arxiv.org/abs/2001.00396, and its code (VGG-16: features.17; 10,000 images for
        the statistics). Departures: see FeatureBottleneck.
    Args:
        layer: location of the bottleneck; None = the classifier's default layer.
        beta: weight of the mean capacity relative to the cross-entropy.
        n_steps, lr: steps and learning rate of Adam on the logits of the passing share.
        n_draws: noise draws per step.
        init: logit at the start (5: 99.3 % passes).
        sigma_cells: deviation of the Gaussian filter over the passing share, in cells of the layer; 0 = no filter.
        min_std: least deviation of a value.
        n_fit: training images for the statistics.
        active_share: a value transmits information only if it is non-zero on more than this share of the images.
    Shapes: attribution [B,H,W] in bits per pixel; extra [B]: "information" (bits) and "cross_entropy"; the convergence
        record.
    Cost: n_steps * n_draws forward and backward passes per image; n_fit forward passes once per layer and classifier.
    Random: noise per image ("iba").
    """

    gives = frozenset({"attribution"})
    revision: ClassVar[int] = 2  # 1 stored no losses
    access: ClassVar[str] = "white_box"
    fit_arguments = frozenset({"layer", "n_fit", "active_share"})

    layer: str | None = None
    beta: NonNegative = 10.0
    n_steps: Natural = 10
    lr: Positive = 1.0
    n_draws: Count = 10
    init: float = 5.0
    sigma_cells: NonNegative = 1.0
    min_std: Positive = 0.01
    n_fit: Count = 10000
    active_share: Fraction = 0.01

    @classmethod
    def check_network(cls, given: Mapping[str, Any], classifier: WhiteBox, image: Tensor) -> None:
        bottleneck_map(cls.__name__, classifier, given["layer"], image)

    def fit(self, training: Dataset, classifier: WhiteBox) -> dict[str, Tensor]:
        return layer_statistics(training, classifier, classifier.bottleneck(self.layer), self.n_fit, self.active_share)

    def explain(self, case: Case) -> Explanation:
        classifier, image = case.classifier, case.batch.image
        self.check(classifier, image[:1])
        layer = classifier.bottleneck(self.layer)
        bottleneck = FeatureBottleneck(
            beta=self.beta,
            n_steps=self.n_steps,
            lr=self.lr,
            n_draws=self.n_draws,
            init=self.init,
            sigma=self.sigma_cells,
            min_std=self.min_std,
        )
        information = bottleneck.optimize(case, layer, "iba")
        maps = bits(information.nats, image.shape[2:])
        extra = {"information": maps.sum((1, 2)), "cross_entropy": information.entropy, **record(information.losses)}
        return Explanation(target=case.target, attribution=maps, extra=extra)

    def fit_cost(self, n_training: int) -> Cost:
        return Cost(queries=min(self.n_fit, n_training))

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(queries=self.n_steps * self.n_draws + 1)
