"""Integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from pomelo_lab.batching import Streams
from pomelo_lab.config.hints import Count
from pomelo_lab.explainer.gradient import BaselineExplainer
from pomelo_lab.types import Batch


@dataclass(kw_only=True)
class IntegratedGradientsExplainer(BaselineExplainer):
    """Gradients averaged along the straight line from the baseline to the image, times their difference.

    Source: Sundararajan et al. (2017), https://arxiv.org/abs/1703.01365; captum. Departures: none.
    Args:
        n_steps: points of the line.
        method: of integration, captum's names.
    Cost: n_steps forwards and backwards per image.
    """

    n_steps: Count = 50
    method: Literal["gausslegendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid"] = "gausslegendre"

    def values(self, module: nn.Module, batch: Batch, target: Tensor, streams: Streams, **more: Any) -> Tensor:
        from captum.attr import IntegratedGradients

        return IntegratedGradients(module).attribute(batch.image, more["baseline"], target=target, n_steps=self.n_steps, method=self.method)

    @property
    def copies(self) -> int:
        return self.n_steps
