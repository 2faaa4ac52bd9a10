"""DeepLIFT."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from pomelo_lab.batching import Streams
from pomelo_lab.explainer.gradient import BaselineExplainer
from pomelo_lab.types import Batch


@dataclass(kw_only=True)
class DeepLiftExplainer(BaselineExplainer):
    """Differences of every unit from its value on the baseline, carried back to the pixels by the rescale rule.

    Source: Shrikumar et al. (2017), https://arxiv.org/abs/1704.02685; captum. Departures: none; networks whose non-linearities its hooks miss are
        refused.
    Cost: 2 forwards and a backward per image.
    """

    hooked: ClassVar[tuple[str, ...]] = ("relu", "max_pool2d")
    each_once: ClassVar[bool] = True

    def values(self, module: nn.Module, batch: Batch, target: Tensor, streams: Streams, **more: Any) -> Tensor:
        from captum.attr import DeepLift

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
            return DeepLift(module).attribute(batch.image.detach().requires_grad_(), more["baseline"].detach().requires_grad_(), target=target)

    @property
    def copies(self) -> int:
        return 2
