"""The gradient itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gradient import GradientExplainer


@dataclass(kw_only=True)
class SaliencyExplainer(GradientExplainer):
    """The largest absolute gradient over the channels of a pixel.

    Source: Simonyan et al. (2014), https://arxiv.org/abs/1312.6034; captum. Departures: none.
    Cost: one forward and one backward pass per image.
    """

    channels: Literal["sum", "sum_abs", "max_abs"] = "max_abs"

    def values(self, module: nn.Module, case: Case) -> Tensor:
        from captum.attr import Saliency

        return Saliency(module).attribute(case.batch.image.detach().requires_grad_(), target=case.target, abs=False)
