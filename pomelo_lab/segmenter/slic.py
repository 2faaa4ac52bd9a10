"""SLIC super-pixels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, NonNegative, Positive
from pomelo_lab.segmenter.base import Segmenter

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class SlicSegmenter(Segmenter):
    """k-means clusters in (colour, position): compact super-pixels that follow edges.

    Source: Achanta et al. (2012), https://doi.org/10.1109/TPAMI.2012.120, as `skimage.segmentation.slic` in Lab colour;
        the settings of POMELO (65 segments, compactness 10). Departures: none.
    Args:
        n_segments: segments to ask for. SLIC gives about as many; `Segments.count` is their number.
        compactness: weight of position against colour; larger gives squarer segments.
        sigma: width in pixels of the Gaussian smoothing before clustering; 0 = none.
    Shapes: image [B,C,H,W] in [0,1] -> labels int64 [B,H,W].
    Cost: one image after the other on the CPU, about 3 ms for 64x64.
    Random: none.
    Raises: ValueError when there are fewer pixels than segments asked for.
    """

    n_segments: Count = 65
    compactness: Positive = 10.0
    sigma: NonNegative = 0.0

    @classmethod
    def shape_problems(cls, given: Mapping[str, Any], shape: Sequence[int]) -> list[str]:
        return too_many_segments(given.get("n_segments", cls.n_segments), shape)

    def labels(self, image: Tensor) -> Tensor:
        if problems := too_many_segments(self.n_segments, image.shape[-3:]):
            raise ValueError("; ".join(problems))
        from skimage.segmentation import slic

        channels_last = image.permute(0, 2, 3, 1).double().cpu().numpy()
        label_maps = [
            slic(
                array,
                n_segments=self.n_segments,
                compactness=self.compactness,
                sigma=self.sigma,
                start_label=0,
                channel_axis=-1,
            )
            for array in channels_last
        ]
        if whole := sum(array.max() == 0 for array in label_maps):
            if self.n_segments > 1:
                log.warning(
                    "segmenter=slic found one segment in %d of %d images, whose maps are constant: it was asked for "
                    "segmenter.n_segments=%d; segmenter=grid cuts any image",
                    *(whole, len(label_maps), self.n_segments),
                )
        return torch.stack([torch.from_numpy(array).long() for array in label_maps]).to(image.device)


def too_many_segments(n_segments: Any, shape: Sequence[int]) -> list[str]:
    """A list with the problem that an image of shape (C,H,W) has fewer pixels than segments, or an empty list."""
    height, width = shape[-2:]
    if not isinstance(n_segments, int) or n_segments <= height * width:
        return []
    return [f"segmenter.n_segments must be <= {height * width} ({height}x{width} pixels), got {n_segments}"]
