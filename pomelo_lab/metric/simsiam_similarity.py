"""Similarity of image and counterfactual in the features of a self-supervised network."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pomelo_lab.classifier.torchvision import IMAGENET_MEAN, IMAGENET_STD
from pomelo_lab.compat import ensure
from pomelo_lab.metric.counterfactual import Population
from pomelo_lab.metric.identity import FeatureSimilarity, Likeness
from pomelo_lab.metric.published_network import PublishedNetwork
from pomelo_lab.weights import load


@dataclass(kw_only=True)
class SimSiamSimilarity(PublishedNetwork, Likeness):
    """Mean cosine between SimSiam's projections of image and counterfactual, whether the class was reached or not.

    Source: Jeanneret et al. (2023), https://arxiv.org/abs/2303.09962 and its code: the projector's output of SimSiam's
        ResNet-50 (Chen & He 2021, https://arxiv.org/abs/2011.10566), images of their own size, scaled as for ImageNet.
        Departures: none.
    Args: weights: SimSiam's checkpoint of the pre-training (checkpoint_0099.pth.tar, 100 epochs at batch 256: encoder
        with its projector; a classification checkpoint has none).
    Shapes: features [B,2048].
    Cost: two forwards of a ResNet-50 per image.
    """

    file = "SimSiam's ResNet-50 checkpoint (checkpoint_0099.pth.tar)"
    instead = "metrics=s3_oracle"

    population: Population = "correct"

    def build_network(self) -> nn.Module:
        return encoder()

    def read_weights(self, key: str) -> None:
        load(self.network, self.weights, "SimSiam's ResNet-50 with its projector", key, ignore=("predictor",))

    def preprocess(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        return (images - mean) / std


@dataclass(kw_only=True)
class OracleSimilarity(FeatureSimilarity):
    """The cosine of S3 in features of our own oracle, for all correctly classified images. It is not comparable with a
    published S3.

    Source: as SimSiamSimilarity. Departures: the network, which was trained with labels; penultimate features.
    """

    population: Population = "correct"


def encoder() -> nn.Module:
    """SimSiam's encoder without its predictor, with the checkpoint's names: images [B,3,H,W] -> [B,2048]."""
    ensure()
    from torchvision.models import resnet50

    network = resnet50(weights=None)
    width = network.fc.in_features
    network.fc = nn.Sequential(
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.BatchNorm1d(width, affine=False),
    )
    return nn.Sequential(OrderedDict(encoder=network))
