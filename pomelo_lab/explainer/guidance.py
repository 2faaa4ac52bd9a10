"""One attempt of DiME to move images to their goal classes, and the push of one of its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from pomelo_lab.explainer.case import Case
from pomelo_lab.generator.ddpm import DDPM

Distance = Callable[[Tensor, Tensor], Tensor]


class Push(NamedTuple):
    """The gradient that pushes a step: all tensors [B,C,H,W].

    whole: the push; seen: its class gradient before the division by sqrt(alpha-bar); terms: of `whole`, where they are
    recorded.
    """

    whole: Tensor
    seen: Tensor
    terms: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """Images that are guided with one scale of the class term.

    case:     the images [0,1]
    goal:     the classes to reach [B]
    distance: the perceptual distance of two batches of images, in its unit
    scale:    of the class term
    number:   of the scale among those that are tried; random draws are named after it
    """

    case: Case
    goal: Tensor
    distance: Distance
    scale: float
    number: int

    @cached_property
    def image(self) -> Tensor:
        """The images in [-1,1], as the denoiser takes them."""
        return DDPM.scaled(self.case.batch.image)

    def normal(self, purpose: str) -> Tensor:
        """Standard normals of the images' shape."""
        batch = self.case.batch
        return self.case.streams.normal(batch.image_id, purpose, *batch.image.shape[1:]).to(self.image)
