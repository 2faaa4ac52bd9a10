"""Occlusion by a sliding window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.gradient import BaselineCase, BaselineExplainer


@dataclass(kw_only=True)
class OcclusionExplainer(BaselineExplainer):
    """The drop of the answer when a window is replaced, averaged over the windows that cover a pixel.

    Source: Zeiler & Fergus (2014), https://arxiv.org/abs/1311.2901; captum. Departures: none. `sliding_patch` is the
        variant of Agarwal & Nguyen, with one value per position.
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
        from captum.attr import Occlusion

        image = case.batch.image
        channels, window, stride = image.shape[1], min(self.window_px, *image.shape[2:]), self.stride_px
        sizes = {"sliding_window_shapes": (channels, window, window), "strides": (channels, stride, stride)}
        attribution = Occlusion(module).attribute(image, baselines=case.baseline, target=case.target, **sizes)
        return attribution / channels  # a window covers all channels, so each channel holds the whole drop

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        positions = [1 + max(0, -(-(size - self.window_px) // self.stride_px)) for size in shape[1:]]
        return replace(super().cost(shape), queries=positions[0] * positions[1] + 3)
