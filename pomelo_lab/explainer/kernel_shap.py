"""Kernel SHAP over segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Count
from pomelo_lab.explainer.gradient import BaselineExplainer
from pomelo_lab.types import Batch, Segments

AT_ONCE = 64  # coalitions that captum asks about together


@dataclass(kw_only=True)
class KernelShapExplainer(BaselineExplainer):
    """Shapley values of the segments, by captum's weighted regression on random coalitions.

    Source: Lundberg & Lee (2017), https://arxiv.org/abs/1705.07874; captum. Departures: none.
    Args: n_coalitions: segments kept together, of which the first are all and none.
    Shapes: every pixel of a segment has the segment's value.
    Cost: n_coalitions queries per image, and captum's loop over images.
    Random: coalitions per image ("kernel_shap"): the global generator, seeded for it and put back.
    """

    uses: ClassVar[frozenset[str]] = frozenset({"segments"})
    differentiates = frozenset()

    answer: Literal["logit", "probability"] = "probability"
    n_coalitions: Count = 1000

    @torch.no_grad()
    def values(self, module: nn.Module, batch: Batch, target: Tensor, streams: RandomStreams, **more: Any) -> Tensor:
        from captum.attr import KernelShap

        per_image, segments = [], more["segments"].label
        for i, image_id in enumerate(batch.image_id):
            row = slice(i, i + 1)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(streams.generator(image_id, "kernel_shap").initial_seed())
                values = KernelShap(module).attribute(
                    batch.image[row],
                    baselines=more["baseline"][row],
                    target=target[row],
                    feature_mask=segments[row, None],
                    n_samples=self.n_coalitions,
                    perturbations_per_eval=min(AT_ONCE, self.n_coalitions),
                )
            per_image.append(values)
        values = torch.cat(per_image)  # the value of a segment, at each of its pixels and channels
        return values / values.shape[1]

    def part(
        self, module: nn.Module, batch: Batch, target: Tensor, streams: RandomStreams, segments: Segments | None
    ) -> tuple[Tensor, ...]:
        maps, _, difference = super().part(module, batch, target, streams, segments)
        size = segments.sums(torch.ones_like(maps)[:, None])
        each = segments.spread(1 / size.clamp_min(1))[:, 0]
        return maps, (maps * each).sum((1, 2)), difference

    @property
    def copies(self) -> int:
        return AT_ONCE

    def queries(self, shape: tuple[int, int, int]) -> int:
        return self.n_coalitions + 2
