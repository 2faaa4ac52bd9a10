"""Images of a data set, scored as if they were perturbations: the rows "val" and "noise" of a sampler table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.sampler.base import Sampler
from pomelo_lab.types import Batch, Perturbations, Segments


@dataclass(kw_only=True)
class ReferenceSampler(Sampler):
    """Draws images of a data set, which do not depend on the explained image. Their scores are a reference.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, Table 1, rows "validation set"
        and "noise". Departures: none known.
    Args: source: the data set. If the config leaves it out, the job's data set is used. The explained image can then be
        drawn too.
    Shapes: images of another size are resized (bilinear, antialiased); 1 channel becomes 3 by copying, 3 become 1 by
        the mean.
    Cost: n images of the source are read for each image; no network.
    Random: n indices with replacement per image ("reference").
    Raises: ValueError when the source is empty or has another number of channels that cannot be converted.
    """

    source: Dataset

    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        size = len(self.source)
        if size < 1:
            raise ValueError("sampler.source must have images, got an empty data set")
        index = (streams.uniform(batch.image_id, "reference", n).double() * size).long().clamp_max(size - 1)
        image = batch.image.new_empty(len(batch), n, *batch.image.shape[1:], dtype=torch.uint8)
        # one image at a time: n float images are in memory, not B x n
        for row, drawn in zip(image, index.tolist(), strict=True):
            row.copy_(Perturbations.quantize(convert_shape(self.source.unmasked(drawn).image, batch.image.shape[1:])))
        return Perturbations(image=image)


def convert_shape(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Resizes images and converts them between gray and colour: [M,c,h,w] -> [M,C,H,W].

    Raises: ValueError for a number of channels that cannot be converted.
    """
    channels, height, width = shape
    if image.shape[1] != channels:
        if {image.shape[1], channels} != {1, 3}:
            raise ValueError(
                f"sampler.source must have {channels} channels as the data set, or 1 or 3, got {image.shape[1]}"
            )
        image = image.mean(1, keepdim=True) if channels == 1 else image.expand(-1, channels, -1, -1)
    if image.shape[-2:] == (height, width):
        return image
    return torch.nn.functional.interpolate(image, (height, width), mode="bilinear", antialias=True)
