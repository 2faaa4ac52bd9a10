"""Removal by the mean colour of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Count
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.sampler.base import BaseImageFiller
from pomelo_lab.types import Segments

AT_ONCE = 100  # training images


@dataclass(kw_only=True)
class MeanDatasetSampler(BaseImageFiller):
    """Removed pixels get the mean colour of the training images, channel by channel: gray for natural images.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 3.3 and its footnote 2 (ImageNet's mean):
        what is zero to a network of normalised images. Departures: none.
    Args:
        dataset: the data set. If the config leaves it out, the job's data set is used.
        color: the colour, one value per channel in [0,1]; None = the mean colour of training images.
        n_mean: number of training images whose mean is taken. They are the first of the fixed random order.
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W].
    Cost: n_mean training images are read once.
    Random: none besides the segments dropped.
    """

    dataset: Dataset
    color: list[float] | None = None
    n_mean: Count = 1000

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports colours outside [0,1]."""
        if given["color"] is not None and not all(0 <= value <= 1 for value in given["color"]):
            yield f"color must lie in [0, 1], got {given['color']}"

    @cached_property
    def mean(self) -> Tensor:
        """The mean colour, [C,1,1]."""
        if self.color is not None:
            if len(self.color) != self.dataset.shape[0]:
                raise ValueError(
                    f"sampler.color must have {self.dataset.shape[0]} values, one per channel, got {self.color}"
                )
            return torch.tensor(self.color)[:, None, None]
        training = self.dataset.at("train")
        parts = training.order()[: self.n_mean].split(AT_ONCE)
        total = sum(training.unmasked(part.tolist()).image.double().mean((2, 3)).sum(0) for part in parts)
        return (total / sum(map(len, parts))).float()[:, None, None]

    def base(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None
    ) -> Tensor:
        return self.mean.to(image).expand_as(image)
