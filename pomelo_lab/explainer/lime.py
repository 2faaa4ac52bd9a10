"""LIME for images, with the perturbations of any sampler."""

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
    """Fits a linear model of the target's probability to perturbations of the image. Its inputs say how much of each
    segment was kept, and perturbations near the image weigh more.

    Source: Ribeiro et al. (2016), https://arxiv.org/abs/1602.04938, as the lime package 0.2.0.1 computes it; with
        full-input samplers Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, eq. 1.
        Departures: none at the defaults. The surrogates of all images of a batch are solved together.
    Args:
        n_samples: perturbations per image, the image itself (perturbation 0) included.
        kernel_width: w in the kernel exp(-d^2 / 2w^2) of a distance d.
        kernel_space: space of d: "interpretable" (vectors r against the vector of ones) or "pixel" (images).
        distance: d, "cosine" (1 - cosine similarity) or "euclidean".
        representation: r, "binary" (kept or not), "distance" (eq. 1), or "auto" (binary when segments were dropped,
            otherwise distance).
        alpha: ridge penalty; 0 = least squares; "cv" = chosen for each image by leave-one-out cross-validation over its
            perturbations. The lime package's penalty of 1 shrinks the coefficients of a sampler that varies segments
            little more than those of others.
        standardize: penalise per standard deviation of r (see `surrogate.weighted_ridge`). Samplers that change images
            little are then not shrunk more than others.
        feature_selection: method that chooses n_features segments (see `surrogate.select_features`).
        n_features: segments in the model; all others get 0; None = all segments.
        output: the modelled value: "probability", or "logit" (log-odds of the probability, clamped to [1e-6, 1-1e-6]).
    Shapes: extra "coefficient" [B,S] (0 beyond an image's own "n_segments" [B]), and "intercept", "score" (weighted
        R^2), "local_prediction", "condition", "penalty" [B].
    Cost: n_samples queries, one per perturbation. The fit takes about 1 ms of one core per image (n_samples = 800,
        S = 65, 64x64), 15 ms with eq. 1 and 25 ms with kernel_space = pixel. The lime package takes 150 ms, which
        include its perturbations.
    Random: none.
    Raises: ValueError without segments, with too few perturbations, or with representation "binary" and a full-input
        sampler.
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
        """The interpretable vectors r of the perturbations: float64 [B,n_samples,S]."""
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
        """The kernel weights of the perturbations: float64 [B,n_samples]."""
        if self.kernel_space == "pixel":
            away = surrogate.pixel_distance(batch.image, perturbations.image[:, : self.n_samples], self.distance)
        else:
            away = surrogate.interpretable_distance(data, valid, self.distance)
        return surrogate.kernel_weight(away, self.kernel_width)

    def fit_surrogate(self, data: Tensor, answer: Tensor, weight: Tensor, valid: Tensor) -> surrogate.Surrogate:
        """Selects features, then fits the surrogate.

        Shapes: data float64 [B,N,S], answer and weight [B,N], valid bool [B,S].
        """
        used = surrogate.select_features(data, answer, weight, self.feature_selection, self.n_features, valid)
        return surrogate.fit_ridge(data, answer, weight, self.alpha, used, self.standardize)
