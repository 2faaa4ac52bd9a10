"""Pixels that differ from their neighbours more than pixels of real images do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Range
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.types import Perturbations


@dataclass(kw_only=True)
class BrokenPixels(Metric):
    """Share of broken pixels. A pixel is broken if its distance to the median of its 3x3 neighbourhood exceeds the
    given quantile of these distances in training images.

    Source: own. The distance is the largest over the channels, in 8-bit steps; the border is repeated. Training images
        score 1 - quantile.
    Args:
        n_reference: number of training images, the first of the data set's fixed shuffle.
        quantile: quantile of the distances in training images; a broken pixel exceeds it.
        n_per_image: number of perturbations of each image, without perturbation 0, which is often the image itself.
    """

    direction = "lower"
    needs = frozenset({"perturbations"})

    n_reference: Count = 2000
    quantile: Annotated[float, Range(above=0, below=1)] = 0.9999
    n_per_image: Count = 8

    def fit(self, training: Dataset, classifier: BlackBox, streams: RandomStreams) -> dict[str, Tensor]:
        counts = torch.zeros(256, dtype=torch.long)
        for indices in training.order()[: self.n_reference].split(256):
            apart = distances(Perturbations.quantize(training.unmasked(indices.tolist()).image))
            counts += apart.flatten().long().cpu().bincount(minlength=256)
        below = counts.cumsum(0) >= self.quantile * counts.sum()
        return {"threshold": below.long().argmax()}

    def score(self, case: Case) -> dict[str, Tensor]:
        apart = distances(case.perturbations.image[:, 1 : 1 + self.n_per_image])
        return {"value": (apart > case.reference["threshold"]).double().flatten(1).mean(1)}


def distances(images: Tensor) -> Tensor:
    """The largest distance over the channels to the median of the 3x3 neighbourhood: uint8 [...,C,H,W] -> int16
    [...,H,W]."""
    plain = images.flatten(0, -4).float()
    padded = F.pad(plain, (1, 1, 1, 1), mode="replicate")
    height, width = plain.shape[-2:]
    around = torch.stack([padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)])
    apart = (plain - around.median(0).values).abs().amax(1)
    return apart.to(torch.int16).unflatten(0, images.shape[:-3])
