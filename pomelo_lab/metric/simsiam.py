"""Whether a self-supervised network finds two images alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.batching import Forwards
from pomelo_lab.classifier.torchvision import IMAGENET_MEAN, IMAGENET_STD
from pomelo_lab.classifier.torchvision_ops import ensure
from pomelo_lab.config.hints import WeightsPath
from pomelo_lab.metric.counterfactual import CounterfactualMetric, Population
from pomelo_lab.metric.identity import FeatureSimilarity
from pomelo_lab.types import Case
from pomelo_lab.weights import load


@dataclass(kw_only=True)
class S3(CounterfactualMetric):
    """Mean cosine between SimSiam's projections of image and counterfactual, whether the class was reached or not.

    Source: Jeanneret et al. (2023) and its code: the projector's output of SimSiam's ResNet-50 (Chen & He 2021, https://arxiv.org/abs/2011.10566),
        images of their own size, scaled as for ImageNet. Departures: none.
    Args: weights: SimSiam's checkpoint of the pre-training (checkpoint_0099.pth.tar, 100 epochs at batch 256: encoder with its projector; a
        classification checkpoint has none); nothing is downloaded.
    Shapes: projections [B,2048].
    Cost: two forwards of a ResNet-50 per image.
    Raises: ValueError naming the key when no file is given, and with the first names that differ when it is another network's.
    """

    direction: ClassVar = "higher"
    symbol = "S3"

    population: Population = "correct"
    weights: WeightsPath = None
    network: nn.Module = field(init=False, repr=False, compare=False)

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """No file: no other network may bear the name."""
        if given["weights"] is None:
            yield "weights must be SimSiam's ResNet-50 checkpoint (checkpoint_0099.pth.tar), got None; without one use metrics=s3_oracle"

    def __post_init__(self) -> None:
        super().__post_init__()
        with torch.random.fork_rng(devices=[]):
            self.network = encoder()
        load(self.network, self.weights, "SimSiam's ResNet-50 with its projector", "metric S3: weights", ignore=("predictor",))
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def projected(self, images: Tensor) -> Tensor:
        """[B,C,H,W] in [0,1] -> [B,2048]."""
        self.network.to(images.device)
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        return Forwards(64)(lambda part: self.network((part - mean) / std), images)

    def measured(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        return {"value": F.cosine_similarity(self.projected(case.batch.image), self.projected(counterfactual), dim=1)}


@dataclass(kw_only=True)
class S3Oracle(FeatureSimilarity):
    """The same cosine in features of our own oracle, of all images that were classified correctly; never to be compared with a published S3.

    Source: as S3. Departures: the network, which was trained with labels; penultimate features.
    """

    symbol = "S3_oracle"

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
