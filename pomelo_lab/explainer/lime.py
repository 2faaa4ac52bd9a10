"""LIME for images, on the perturbations of any sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Positive
from pomelo_lab.explainer import surrogate
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments


@dataclass(kw_only=True)
class LimeExplainer(Explainer):
    """A linear model of the target's probability on what was kept of each segment, weighted by closeness to the image.

    Source: Ribeiro et al. (2016), https://arxiv.org/abs/1602.04938, as the lime package 0.2.0.1 computes it; with
        full-input samplers POMELO, eq. 1. Departures: none at the defaults; the surrogates of all images are one
        batched solve.
    Args:
        n_samples: perturbations per image, the image itself (perturbation 0) included.
        kernel_width: w in exp(-d^2 / 2w^2).
        kernel_space: where d is measured: "interpretable" (vectors r against ones) or "pixel" (images).
        distance: d, "cosine" (1 - cosine similarity) or "euclidean".
        representation: r, "binary" (kept or not), "distance" (eq. 1), or "auto": binary when segments were dropped,
            else distance.
        alpha: ridge penalty; 0 = least squares; "cv" = chosen for each image by leave-one-out cross-validation over its
            perturbations, since the lime package's 1 shrinks samplers that vary a segment little more than others.
        standardize: penalise per standard deviation of r (see `surrogate.weighted_ridge`): samplers that change images
            little are then not shrunk more than others.
        feature_selection: how n_features segments are chosen (see `surrogate.select_features`).
        n_features: segments in the model, the rest get 0; None = all.
        output: what is modelled: "probability", or "logit" (log-odds of the probability, clamped to [1e-6, 1-1e-6]).
    Shapes: extra "coefficient" [B,S] (0 beyond an image's own "n_segments" [B]), and "intercept", "score" (weighted
        R^2), "local_prediction", "condition", "penalty" [B].
    Cost: no queries beyond the n_samples perturbations; outside the classifier about 1 ms of one core per image
        (n_samples = 800, S = 65, 64x64), 15 with eq. 1, 25 with kernel_space = pixel; the lime package takes 150,
        perturbing included.
    Random: none.
    Raises: ValueError without segments or with too few perturbations; when "binary" is asked of a full-input sampler.
    """

    gives = frozenset({"attribution", "coefficient"})
    revision: ClassVar[int] = 2  # 1 stored no penalty
    needs = frozenset({"segments", "perturbations"})

    n_samples: Count = 800
    kernel_width: Positive = 0.25
    kernel_space: Literal["interpretable", "pixel"] = "interpretable"
    distance: surrogate.Distance = "cosine"
    representation: Literal["auto", "binary", "distance"] = "auto"
    alpha: surrogate.Penalty = 1.0
    standardize: bool = False
    feature_selection: surrogate.Selection = "auto"
    n_features: Count | None = None
    output: Literal["probability", "logit"] = "probability"

    def explain(self, case: Case) -> Explanation:
        batch, target, segments, perturbations = case.batch, case.target, case.segments, case.perturbations
        if segments is None or perturbations is None:
            raise ValueError("explainer=lime needs segments and perturbations: choose a segmenter and a sampler")
        if perturbations.n < self.n_samples:
            raise ValueError(
                f"explainer.n_samples must be <= {perturbations.n} (perturbations drawn), got {self.n_samples}"
            )
        valid = torch.arange(segments.largest, device=segments.count.device) < segments.count[:, None]
        data = self.vectors(batch, segments, perturbations)
        fit = self.fit_surrogate(
            data,
            self.answers(target, case.classifier, perturbations),
            self.weights(batch, perturbations, data, valid),
            valid,
        )
        extra = {
            name: getattr(fit, name).float()
            for name in ("coefficient", "intercept", "score", "local_prediction", "condition", "penalty")
        }
        attribution = segments.spread(extra["coefficient"][:, None])[:, 0]
        return Explanation(target=target, attribution=attribution, extra={**extra, "n_segments": segments.count})

    def vectors(self, batch: Batch, segments: Segments, perturbations: Perturbations) -> Tensor:
        """The interpretable vectors r: float64 [B,n_samples,S]."""
        kept = perturbations.keep_mask
        if self.representation == "binary" and kept is None:
            raise ValueError(
                "explainer.representation must be 'auto' or 'distance' with a full-input sampler, got 'binary': "
                "nothing was dropped"
            )
        if kept is not None and self.representation != "distance":
            return kept[:, : self.n_samples, : segments.largest].double()
        return surrogate.distance_representation(
            batch.image, perturbations.image[:, : self.n_samples], segments.label, segments.largest
        )

    def answers(self, target: Tensor, classifier: BlackBox, perturbations: Perturbations) -> Tensor:
        """The answers that the surrogate models: float64 [B,n_samples]."""
        known = perturbations.probability
        known = (
            classifier.probability(perturbations.image[:, : self.n_samples])
            if known is None
            else known[:, : self.n_samples]
        )
        chosen = known.to(target.device).gather(2, target[:, None, None].expand(-1, self.n_samples, 1))[..., 0].double()
        return chosen.logit(1e-6) if self.output == "logit" else chosen

    def weights(self, batch: Batch, perturbations: Perturbations, data: Tensor, valid: Tensor) -> Tensor:
        """The kernel weights: float64 [B,n_samples]."""
        if self.kernel_space == "pixel":
            away = surrogate.pixel_distance(batch.image, perturbations.image[:, : self.n_samples], self.distance)
        else:
            away = surrogate.interpretable_distance(data, valid, self.distance)
        return surrogate.kernel_weight(away, self.kernel_width)

    def fit_surrogate(self, data: Tensor, answer: Tensor, weight: Tensor, valid: Tensor) -> surrogate.Surrogate:
        """Select features, then fit: float64 [B,N,S], [B,N], [B,N], bool [B,S]."""
        used = surrogate.select_features(data, answer, weight, self.feature_selection, self.n_features, valid)
        return surrogate.weighted_ridge(data, answer, weight, self.alpha, used, self.standardize)
