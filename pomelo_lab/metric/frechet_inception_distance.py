"""Frechet distances in the features of the published Inception network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.compat import ensure
from pomelo_lab.metric.counterfactual_frechet import FrechetOfFeatures
from pomelo_lab.metric.published_network import PublishedNetwork
from pomelo_lab.weights import load

SIDE_PX = 299


@dataclass(kw_only=True)
class FrechetInceptionDistance(PublishedNetwork, FrechetOfFeatures):
    """Squared Frechet distance in Inception's last pooled features: all images against the counterfactuals that
    succeeded; FID+ and sFID likewise.

    Source: Heusel et al. (2017), https://arxiv.org/abs/1706.08500; GCD and DiME, whose code calls pytorch-fid: its
        network and its scaling (bilinear to 299 pixels without anti-aliasing, to [-1,1]). Departures: 8-bit images, not
        JPEG files; sFID is a mean over halvings.
    Args: weights: pt_inception-2015-12-05-6726825d.pth, or torch-fidelity's file of the same weights.
    Shapes: features [B,2048], so anything up to 2048 counterfactuals is rank-deficient.
    Cost: two forwards of Inception per image; 3 s on a core for each distance of 2048 images or more, of which sFID
        takes two per halving.
    """

    file = "the Inception of FID (pt_inception-2015-12-05-6726825d.pth)"
    instead = "metrics=counterfactual (fd_oracle, sfd_oracle) or metrics=fd_plus"

    def build_network(self) -> nn.Module:
        return inception()

    def read_weights(self, key: str) -> None:
        load(self.network, self.weights, self.file, key)
        self.network.fc = nn.Identity()  # its outputs only serve to recognise the file

    def preprocess(self, images: Tensor) -> Tensor:
        return 2 * F.interpolate(images, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False) - 1


def inception() -> nn.Module:
    """TensorFlow's Inception of 2015 in torchvision's blocks and names, with 1008 outputs.

    It differs from torchvision's network in the pooling branches: averages exclude the padding, and the last block uses
    a maximum.
    """
    ensure()
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False, transform_input=False)
    for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b"):
        repool(network.get_submodule(f"Mixed_{name}"), unpadded_mean)
    repool(network.Mixed_7c, maximum)
    return network


def repool(block: nn.Module, pool: Callable[[Tensor], Tensor]) -> None:
    """Makes the last branch of an Inception block read other pooled maps. Its channels are the last ones of the
    block."""
    plain, n = block.forward, block.branch_pool.conv.out_channels
    block.forward = lambda x: torch.cat([plain(x)[:, :-n], block.branch_pool(pool(x))], 1)


def unpadded_mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)
