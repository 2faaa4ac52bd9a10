"""Distribution alignment: how far perturbed images lie from the training images, in the features of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Fraction
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.features import FeatureMetric, training_features


@dataclass(kw_only=True)
class Mahalanobis(FeatureMetric):
    """Squared Mahalanobis distance of perturbed images to the nearest class, in penultimate features: D_M.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.1, after Lee et al.
        (2018), section 2.1, https://arxiv.org/abs/1807.03888: min over classes c of (f - mu_c)^T Sigma^-1 (f - mu_c),
        no square root (the paper's magnitudes, 413 in 512 dimensions, are squared distances). Departures: no input
        pre-processing and no ensemble over layers (the paper names one layer); a pseudo-inverse, as features of dead
        units have no variance: a change along such a direction is not seen.
    Args:
        n_reference: number of training images that are fitted, the first of the data set's fixed shuffle.
        n_per_image: number of perturbations of each image, perturbation 0 left out; the value is their mean.
        covariance: "tied" pools the classes (Lee et al.); "class" fits one covariance per class.
        shrinkage: share of the covariance replaced by its mean variance times the identity.
    Cost: n_reference features once, n_per_image features per image. Classes without training images are left out.
    """

    revision: ClassVar[int] = 2  # 1 scored the image itself as one of its perturbations
    direction = "lower"

    n_reference: Count = 30_000
    n_per_image: Count = 20
    covariance: Literal["tied", "class"] = "tied"
    shrinkage: Fraction = 0.0

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        feature, label = training_features(training, self.network(classifier), self.n_reference)
        return fit_gaussians(feature, label, self.covariance == "tied", self.shrinkage)

    def score(self, case: Case) -> dict[str, Tensor]:
        images = case.perturbations.scored.image[:, : self.n_per_image]
        feature = self.network(case.classifier).feature(images.flatten(0, 1))
        distance = squared_distance(feature, case.reference["mean"], case.reference["whitener"])
        return {"value": distance.amin(1).view(images.shape[:2]).mean(1)}

    def fit_cost(self, n_training: int) -> Cost:
        return Cost(queries=min(self.n_reference, n_training) if self.embedder is None else 0)

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return Cost(queries=min(self.n_per_image, n_perturbations - 1) if self.embedder is None else 0)


def fit_gaussians(feature: Tensor, label: Tensor, tied: bool = True, shrinkage: float = 0.0) -> dict[str, Tensor]:
    """Class means and the maps that make each covariance the identity, in float64; images with label -1 are left out.

    Shapes: feature [n,D], label [n] -> mean [K,D], whitener [1 or K, D,D] with whitener whitener^T = Sigma^-1.
    Raises: ValueError when no image has a label.
    """
    known = label >= 0
    if not known.any():
        raise ValueError("metric Mahalanobis needs labelled training images: none of the reference images has a label")
    feature = feature[known].double()
    classes, row, count = label[known].unique(return_inverse=True, return_counts=True)
    mean = feature.new_zeros(len(classes), feature.shape[1]).index_add_(0, row, feature) / count[:, None]
    centred = feature - mean[row]
    # sizes differ: no single tensor holds them
    groups = [centred] if tied else [centred[row == k] for k in range(len(classes))]
    covariance = torch.stack([group.T @ group / len(group) for group in groups])
    average = covariance.diagonal(dim1=1, dim2=2).mean(1)
    covariance = (1 - shrinkage) * covariance + shrinkage * average[:, None, None] * torch.eye(covariance.shape[1]).to(
        covariance
    )
    variance, axes = torch.linalg.eigh(covariance)
    # directions without variance get weight 0: the pseudo-inverse, with its usual cut-off
    cut = variance.amax(1, keepdim=True) * variance.shape[1] * torch.finfo(torch.float64).eps
    scale = torch.where(variance > cut, variance.clamp_min(torch.finfo(torch.float64).tiny).rsqrt(), 0)
    return {"mean": mean, "whitener": axes * scale[:, None]}


def squared_distance(feature: Tensor, mean: Tensor, whitener: Tensor) -> Tensor:
    """Squared Mahalanobis distances to each class: [M,D], [K,D], [1 or K,D,D] -> float64 [M,K]."""
    feature = feature.double() @ whitener  # [1 or K, M, D]
    centre = (mean if len(whitener) == 1 else mean[:, None]) @ whitener  # [1, K, D] or [K, 1, D]
    distance = torch.cdist(feature, centre, compute_mode="donot_use_mm_for_euclid_dist").square()
    return distance[0] if len(whitener) == 1 else distance[..., 0].T
