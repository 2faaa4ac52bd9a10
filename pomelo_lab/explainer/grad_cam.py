"""Grad-CAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import named_layer
from pomelo_lab.explainer.gradient import GradientExplainer
from pomelo_lab.types import Batch


@dataclass(kw_only=True)
class GradCamExplainer(GradientExplainer):
    """The maps of a layer, weighted by the target's mean gradient there, their positive part enlarged to the image.

    Source: Selvaraju et al. (2017), https://arxiv.org/abs/1610.02391; captum. Departures: none.
    Args: layer: None = the last one that gives maps of more than one cell.
    Cost: a forward and a backward per image.
    """

    layer: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.signed = False

    def values(self, module: nn.Module, batch: Batch, target: Tensor, streams: Streams, **more: Any) -> Tensor:
        from captum.attr import LayerGradCam

        maps = LayerGradCam(module, self.seen(module, batch.image[:1])).attribute(batch.image, target=target, relu_attributions=True)
        return F.interpolate(maps, batch.image.shape[2:], mode="bilinear", align_corners=False)

    def seen(self, module: nn.Module, image: Tensor) -> nn.Module:
        """The layer to look at. Raises ValueError when there is none."""
        if self.layer is not None:
            return named_layer(module.network, self.layer)
        order: list[nn.Module] = []

        def note(layer: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
                order.append(layer)

        handles = [one.register_forward_hook(note) for one in module.network.modules()]
        try:
            with torch.no_grad():
                module(image)
        finally:
            for handle in handles:
                handle.remove()
        if not order:
            raise ValueError("explainer GradCamExplainer: no layer of the network gives maps of more than one cell")
        return order[-1]
