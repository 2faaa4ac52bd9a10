"""Guided backpropagation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from pomelo_lab.batching import Streams
from pomelo_lab.explainer.gradient import GradientExplainer
from pomelo_lab.types import Batch


@dataclass(kw_only=True)
class GuidedBackpropExplainer(GradientExplainer):
    """The gradient, of which every ReLU lets only positive parts pass back.

    Source: Springenberg et al. (2015), https://arxiv.org/abs/1412.6806; captum. Departures: none; networks whose ReLUs are calls of a function are
        refused. A gradient's sign says brighter or darker, not for or against the target, so maps are magnitudes; channels=sum is
        captum's answer.
    Args: channels: see GradientExplainer.
    Cost: a forward and a backward per image.
    """

    hooked: ClassVar[tuple[str, ...]] = ("relu",)

    channels: Literal["sum", "sum_abs", "max_abs"] = "sum_abs"

    def values(self, module: nn.Module, batch: Batch, target: Tensor, streams: Streams, **more: Any) -> Tensor:
        from captum.attr import GuidedBackprop

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU")
            return GuidedBackprop(module).attribute(batch.image.detach().requires_grad_(), target=target)
