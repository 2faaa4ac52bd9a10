"""Occlusion by a sliding window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import index_pairs
from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.gradient import BaselineCase, BaselineExplainer
from pomelo_lab.explainer.windows import Windows, covering_starts
from pomelo_lab.runtime.originals import Originals


@dataclass(kw_only=True)
class OcclusionExplainer(BaselineExplainer):
    """The drop of the answer when a window is replaced, averaged over the windows that cover a pixel.

    Source: Zeiler & Fergus (2014), https://arxiv.org/abs/1311.2901. The map is captum's. Departures: none.
        `sliding_patch` is the variant of Agarwal & Nguyen, with one value per position.
    Args:
        window_px: side of the window.
        stride_px: distance between positions, at most window_px.
    Cost: one forward pass per position and image.
    """

    differentiates = frozenset()

    answer: Literal["logit", "probability"] = "probability"
    window_px: Count = 9
    stride_px: Count = 3

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports a stride that leaves pixels without a window."""
        if given["stride_px"] > given["window_px"]:
            yield f"stride_px must be <= window_px={given['window_px']}, got {given['stride_px']}"

    @torch.no_grad()
    def values(self, module: nn.Module, case: BaselineCase) -> Tensor:
        image, target, classifier = case.batch.image, case.target, case.classifier
        starts = (self.places(size).to(image.device) for size in image.shape[2:])
        windows = Windows(*starts, self.window_px, tuple(image.shape[2:]))
        row, index = index_pairs(len(image), windows.n, image.device)

        def covered(start: int, stop: int) -> Tensor:
            rows = row[start:stop]
            return torch.where(windows.keep_mask(index[start:stop])[:, None], image[rows], case.baseline[rows])

        ask = classifier.logit_of if self.answer == "logit" else classifier.probability_of
        clean = ask(lambda start, stop: image[start:stop], len(image), target)
        gone = ask(covered, len(row), target[row], Originals(image, row)).view(len(image), -1)
        drop = (clean[:, None] - gone).view(len(image), len(windows.top), len(windows.left))
        channels = image.shape[1]  # a window covers all channels, so each channel holds its share of the drop
        return (windows.mean_covering(drop) / channels)[:, None].expand(-1, channels, -1, -1)

    def places(self, size: int) -> Tensor:
        """The first pixels of all windows along an axis: int64."""
        return covering_starts(size, self.window_px, self.stride_px)

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        positions = [len(self.places(size)) for size in shape[1:]]
        return replace(super().cost(shape), queries=positions[0] * positions[1] + 3)
