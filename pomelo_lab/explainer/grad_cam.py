"""Grad-CAM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.classifier.layers import named_layer
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gradient import GradientExplainer
from pomelo_lab.explainer.layers import last_spatial, map_of


@dataclass(kw_only=True)
class GradCamExplainer(GradientExplainer):
    """The maps of a layer, weighted by the target's mean gradient. Their positive part is enlarged to the image.

    Source: Selvaraju et al. (2017), https://arxiv.org/abs/1610.02391, eq. 1 and 2. Departures: none. The layer's output
        is read before an in-place activation changes it.
    Args: layer: the layer; None = the last one that gives more than one cell.
    Cost: one forward and one backward pass per image.
    Raises: ValueError, which names the layer, when it gives no map: tokens of a transformer, or channels last.
    """

    revision: ClassVar[int] = 2  # 1 took tokens for maps

    layer: str | None = None

    @classmethod
    def check_network(cls, given: Mapping[str, Any], classifier: WhiteBox, image: Tensor) -> None:
        module = classifier.module()
        if given["layer"] is not None:
            named_layer(module.network, given["layer"])
        map_of(cls.__name__, module, given["layer"] or last_spatial(module, image), image)

    def values(self, module: nn.Module, case: Case) -> Tensor:
        image = case.batch.image
        seen: list[Tensor] = []

        def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            seen.append(output.detach().requires_grad_(True))
            return seen[0].clone()

        handle = module.network.get_submodule(self.layer or last_spatial(module, image[:1])).register_forward_hook(keep)
        try:
            answer = module(image).gather(1, case.target[:, None])
        finally:
            handle.remove()
        (maps,) = seen
        weight = torch.autograd.grad(answer.sum(), maps)[0].mean((2, 3), keepdim=True)
        cells = (weight * maps).sum(1, keepdim=True).clamp_min(0)
        return F.interpolate(cells, image.shape[2:], mode="bilinear", align_corners=False)
