"""Guided backpropagation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from pomelo_lab.batching import Streams
from pomelo_lab.explainer.gradient import GradientExplainer
from pomelo_lab.types import Batch


@dataclass(kw_only=True)
class GuidedBackpropExplainer(GradientExplainer):
    """The gradient, of which every ReLU lets only positive parts pass back.

    Source: Springenberg et al. (2015), https://arxiv.org/abs/1412.6806; captum. Departures: none; networks whose ReLUs are calls of a function are
        refused. Sums over channels with sign, as captum gives them.
    Cost: a forward and a backward per image.
    """

    hooked: ClassVar[tuple[str, ...]] = ("relu",)

    def values(self, module: nn.Module, batch: Batch, target: Tensor, streams: Streams, **more: Any) -> Tensor:
        from captum.attr import GuidedBackprop

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
            return GuidedBackprop(module).attribute(batch.image.detach().requires_grad_(), target=target)
