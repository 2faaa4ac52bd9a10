"""One attempt of DiME to move images to their goal classes, and the guidance gradient of one step."""

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
    """The guidance gradient of a step. All tensors are [B,C,H,W].

    gradient: the sum of all terms, as the step uses it.
    seen: its class gradient before the division by sqrt(alpha-bar).
    terms: the terms of `gradient`, if they are recorded.
    """

    gradient: Tensor
    seen: Tensor
    terms: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """Images that are guided with one scale of the class term.

    case:     the images in [0,1]
    goal:     the goal classes [B]
    distance: the perceptual distance of two batches of images, in its unit
    scale:    scale of the class term
    number:   position of the scale among those that are tried; it names the random draws
    """

    case: Case
    goal: Tensor
    distance: Distance
    scale: float
    number: int

    @cached_property
    def image(self) -> Tensor:
        """The images in [-1,1], the denoiser's scale."""
        return DDPM.scaled(self.case.batch.image)

    def normal(self, purpose: str) -> Tensor:
        """Draws standard normals of the images' shape."""
        batch = self.case.batch
        return self.case.streams.normal(batch.image_id, purpose, *batch.image.shape[1:], device=self.image.device)
