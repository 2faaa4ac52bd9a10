"""Frechet distance between sets of images, in the features of an independent network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox, NetworkClassifier, view
from pomelo_lab.config.hints import Count
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric, Summary
from pomelo_lab.metric.features import training_features


@dataclass(kw_only=True)
class FrechetDistance(Metric):
    """Squared Frechet distance of Gaussians fitted to perturbed and to held-out images, in penultimate features of an
    oracle: fd_oracle.

    Source: Heusel et al. (2017), https://arxiv.org/abs/1706.08500, eq. 6, with another network: never to be compared
        with a published FID.
    Args:
        oracle: the network whose features are used; not the explained classifier.
        n_reference: images of the test split.
        n_per_image: number of perturbations of each image; perturbation 0 is left out.
    Cost: n_reference features once, n_per_image features per image. A set statistic; biased upwards for few images.
    """

    direction = "lower"
    needs = frozenset({"perturbations"})

    oracle: NetworkClassifier
    n_reference: Count = 2000
    n_per_image: Count = 8

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        return moments(training_features(training.at("test"), self.view(classifier.device), self.n_reference)[0])

    def score(self, case: Case) -> dict[str, Tensor]:
        images = case.perturbations.scored.image[:, : self.n_per_image]
        feature = self.view(images.device).feature(images.flatten(0, 1))
        return {"feature": feature.unflatten(0, images.shape[:2])}

    def summarize(self, rows: dict[str, Tensor], reference: dict[str, Tensor]) -> Summary:
        feature = rows["feature"]
        finite = feature.isfinite().flatten(1).all(1)
        n = int(finite.sum())
        return Summary(
            mean=distance_of_moments(moments(feature[finite].flatten(0, 1)), reference),
            std=None,
            n=n,
            n_nan=len(feature) - n,
        )

    def view(self, device: Any) -> Any:
        return view(self.oracle, "white_box", 256, device)


def moments(feature: Tensor) -> dict[str, Tensor]:
    """Mean [D] and covariance [D,D] of features [n,D], in float64. Without features the mean is NaN, with one the
    covariance."""
    feature = feature.double()
    n, size = feature.shape
    return {
        "mean": feature.mean(0),
        "covariance": feature.T.cov() if n > 1 else feature.new_full((size, size), math.nan),
    }


def distance_of_moments(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Squared Frechet distance of two Gaussians, |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

    NaN where a moment is not finite: eigenvalues of such a matrix may end the process.

    Cost: the eigenvalues of a D x D matrix (3 s on a core for Inception's 2048 features).
    """
    if not all(moment.isfinite().all() for moment in (*a.values(), *b.values())):
        return math.nan
    root = torch.linalg.eigvals(a["covariance"] @ b["covariance"].to(a["covariance"])).real.clamp_min(0).sqrt().sum()
    apart = (a["mean"] - b["mean"].to(a["mean"])).square().sum()
    return float((apart + a["covariance"].trace() + b["covariance"].trace().to(apart) - 2 * root).clamp_min(0))


def distance_of_features(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of Gaussians fitted to features [n,D] and [m,D]; NaN where a feature is not finite.

    Cost: that of `distance_of_moments`; where there are fewer images than features, a decomposition of an n x m matrix.
    """
    if max(len(a), len(b)) >= a.shape[1]:
        return distance_of_moments(moments(a), moments(b))
    if not (a.isfinite().all() and b.isfinite().all()):
        return math.nan
    means = [features.double().mean(0) for features in (a, b)]
    # roots of the covariances: C_a = x'x, C_b = y'y
    x, y = ((features - mean) / (len(features) - 1) ** 0.5 for features, mean in zip((a, b), means, strict=True))
    root = torch.linalg.svdvals(x @ y.T).sum()  # the trace of (C_a C_b)^(1/2)
    return float(((means[0] - means[1]).square().sum() + x.square().sum() + y.square().sum() - 2 * root).clamp_min(0))
