"""Kernel SHAP over segments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from pomelo_lab.config.hints import Count
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gradient import BaselineCase, BaselineExplainer

AT_ONCE = 64  # coalitions that captum queries together


@dataclass(kw_only=True)
class KernelShapExplainer(BaselineExplainer):
    """Shapley values of the segments, by captum's weighted regression on random coalitions.

    Source: Lundberg & Lee (2017), https://arxiv.org/abs/1705.07874; captum. Departures: none.
    Args: n_coalitions: number of coalitions of segments; the first two are all segments and none.
    Shapes: every pixel of a segment has the segment's value.
    Cost: n_coalitions queries per image, and captum's loop over images.
    Random: coalitions per image ("kernel_shap"). captum uses the global generator, which is seeded and restored.
    """

    needs = frozenset({"segments"})
    differentiates = frozenset()

    answer: Literal["logit", "probability"] = "probability"
    n_coalitions: Count = 1000

    @torch.no_grad()
    def values(self, module: nn.Module, case: BaselineCase) -> Tensor:
        from captum.attr import KernelShap

        per_image = []
        for i, image_id in enumerate(case.batch.image_id):
            single = case.select([i])
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(case.streams.generator(image_id, "kernel_shap").initial_seed())
                values = KernelShap(module).attribute(
                    single.batch.image,
                    baselines=single.baseline,
                    target=single.target,
                    feature_mask=single.segments.label[:, None],
                    n_samples=self.n_coalitions,
                    perturbations_per_eval=min(AT_ONCE, self.n_coalitions),
                )
            per_image.append(values)
        values = torch.cat(per_image)  # the value of a segment, at each of its pixels and channels
        return values / values.shape[1]

    def explain_part(self, module: nn.Module, case: Case) -> tuple[Tensor, ...]:
        maps, _, difference = super().explain_part(module, case)
        segments = case.segments
        size = segments.sums(torch.ones_like(maps)[:, None])
        each = segments.spread(1 / size.clamp_min(1))[:, 0]
        return maps, (maps * each).sum((1, 2)), difference

    @property
    def copies(self) -> int:
        return AT_ONCE

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return replace(super().cost(shape), queries=self.n_coalitions + 2)
