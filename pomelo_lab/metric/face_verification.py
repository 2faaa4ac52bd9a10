"""Scores of identity by the published face network: whether image and counterfactual show the same person."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.compat import ensure
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.identity import Likeness, Verification
from pomelo_lab.metric.published_network import PublishedNetwork

SIDE_PX = 224
MEAN_BGR = (91.4953, 103.8827, 131.0912)  # of 8-bit pixels, blue first


@dataclass(kw_only=True)
class VGGFace2(PublishedNetwork, Likeness, ABC):
    """A score by the cosine of two faces in the pooled features of VGGFace2's ResNet-50.

    Source: Cao et al. (2018), https://arxiv.org/abs/1710.08092, in the port to PyTorch that DiME's code uses; 8-bit
        images of 224 pixels, blue first, less the mean. Departures: torch's anti-aliased bilinear resizing, within one
        level of Pillow's; other shapes become squares.
    Args: weights: state dict of resnet50_ft_weight or resnet50_scratch_weight with its 8631 outputs. The published
        files are pickles of arrays: where you trust them, save them once as tensors (safetensors.torch.save_file).
    Shapes: features [B,2048].
    Cost: two forwards of a ResNet-50 per image.
    """

    file = "VGGFace2's ResNet-50 (a state dict converted from resnet50_ft_weight.pkl)"
    pickled = "a pickle is never read; where you trust it, save its arrays once as a state dict of tensors"

    def build_network(self) -> nn.Module:
        return resnet()

    def read_weights(self, key: str) -> None:
        super().read_weights(key)
        self.network.fc = nn.Identity()  # its outputs only help to identify the file

    def preprocess(self, images: Tensor) -> Tensor:
        resized = F.interpolate(images, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False, antialias=True)
        return (resized * 255).round().flip(1) - torch.tensor(MEAN_BGR, device=images.device)[:, None, None]


@dataclass(kw_only=True)
class FaceSimilarity(VGGFace2):
    """Mean cosine of the two faces.

    Source: FS of Jeanneret et al. (2023), https://arxiv.org/abs/2303.09962; Sobieski & Biecek (2024), "Global
        Counterfactual Directions", https://arxiv.org/abs/2404.12488. Departures: see VGGFace2.
    """

    instead = "metrics=counterfactual (fs_oracle)"


@dataclass(kw_only=True)
class FaceVerification(Verification, VGGFace2):
    """Face verification accuracy: the share of counterfactuals whose cosine is above 0.5, which belongs to this
    network.

    Source: the FVA of Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, section 4, and its code.
        Departures: see VGGFace2.
    """

    LEVEL: ClassVar[float] = 0.5
    instead = "metrics=counterfactual (fva_oracle)"

    def level(self, case: Case) -> float:
        return self.LEVEL


def resnet() -> nn.Module:
    """The ResNet-50 that came from Caffe: blocks stride in their first convolution, and the first pooling has no
    padding; torchvision's names."""
    ensure()
    from torchvision.models import resnet50

    network = resnet50(weights=None, num_classes=8631)
    network.maxpool = nn.MaxPool2d(3, stride=2, padding=0, ceil_mode=True)
    for layer in (network.layer2, network.layer3, network.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    return network
