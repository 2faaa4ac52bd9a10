"""A feed-forward network that fills holes in images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from pomelo_lab.config.hints import Count, NotFingerprinted
from pomelo_lab.generator.base import Generator


@dataclass(kw_only=True)
class Inpainter(Generator):
    """Fills a hole from what is around it, in one evaluation: a coarse guess, then a refined one.

    Source: Yu et al. (2018), https://arxiv.org/abs/1801.07892 (DeepFill: two stages, contextual attention), with the
        gated convolutions and the hinge loss of Yu et al. (2019), https://arxiv.org/abs/1806.03589, or the partial ones
        of Liu et al. (2018). Departures: `unshuffle` folds blocks of pixels into channels in front of each stage, so
        that 64x64 images cost a network of 32x32; no loss on a discounted distance to the border.
    Args:
        width: channels of the first layer, doubled at each halving of the resolution.
        n_down: halvings.
        dilations: of the convolutions in the middle.
        unshuffle: side of the folded blocks; 1 = none.
        convolution: gated or partial.
        attention: contextual attention in the refinement.
    Shapes: images [M,C,H,W] in [0,1], keep [M,H,W] (below 0.5 = hole) -> [M,C,H,W].
    Cost: one evaluation (both stages) per hole.
    Random: none besides the initial weights.
    """

    width: Count = 24
    n_down: Count = 1
    dilations: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    unshuffle: Count = 2
    convolution: Literal["gated", "partial"] = "gated"
    attention: bool = False

    recipe: Annotated[str, NotFingerprinted()] = "inpainter_small"

    training = "pomelo_lab.training.inpainter.InpainterTraining"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Problems: sides that do not halve often enough, dilations below one."""
        fold = given["unshuffle"] * 2 ** given["n_down"]
        if given["size_px"] and given["size_px"] % fold:
            yield f"size_px must be a multiple of {fold} (unshuffle and n_down), got {given['size_px']}"
        if min(given["dilations"], default=1) < 1:
            yield f"dilations must be >= 1, got {given['dilations']}"

    def make_network(self) -> nn.Module:
        from pomelo_lab.generator.inpainter_network import InpaintingNetwork

        return InpaintingNetwork(
            channels=self.channels,
            width=self.width,
            n_down=self.n_down,
            dilations=self.dilations,
            unshuffle=self.unshuffle,
            kind=self.convolution,
            attention=self.attention,
        )

    def one_forward(self, images: Tensor) -> Tensor:
        return self.inpaint(images, torch.zeros_like(images[:, 0]))

    def inpaint(self, images: Tensor, keep: Tensor) -> Tensor:
        """The network's output for images [M,C,H,W] and keep masks [M,H,W], inside and outside the holes."""
        hole = (keep < 0.5)[:, None].to(images)
        return ((self.apply(images * 2 - 1, hole.to(self.dtype)) + 1) / 2).clamp(0, 1)

    @torch.no_grad()
    def fill_rows(self, images: Tensor, row: Tensor, keep: Tensor) -> Tensor:
        """Images filled in micro-batches: images [B,C,H,W], index of the image row [M], keep [M,H,W] -> [M,C,H,W]."""
        self.check_images(images)
        return self.forwards.rows(lambda start, stop: self.inpaint(images[row[start:stop]], keep[start:stop]), len(row))
