"""Walks from training images along directions: they order directions by the images that they flip, and limit the
reach to where random directions flip few images."""

from __future__ import annotations

import logging
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Fraction, Positive
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.fit_in_parts import PartCache
from pomelo_lab.explainer.latent_distance import LatentDistance

log = logging.getLogger(__name__)

RANDOM_STEPS = 12  # steps on each side along a random direction
RANDOM_LINES = 2  # random directions through each training image


@dataclass(kw_only=True)
class TrainingWalks(LatentDistance, ABC):
    """Orders h-directions and shortens the line search by their effect on training images, never on the scored images.

    Source: order=flips as in Table 4 of Sobieski & Biecek (theirs uses the scored images); random_flips is our
        addition.
    Args:
        seed: seed of codes, random directions and starts of the chain; the proxy has its own seed.
        n_h: number of h-directions kept for each Hessian.
        hessian: class = of the class score alone (the published code), loss = of the weighted sum (eq. 4).
        order: order of the h-directions: eigenvalue = the largest magnitude first; flips = the largest share of flips
            among n_rank training images first (Table 4; theirs uses the images that are then scored).
        n_alphas, reach: number of steps of the line search on each side, and the distance of the last one.
        random_flips: shorten the reach to the farthest of 12 equal steps within which walks along random directions,
            both ways from n_rank training images, flip at most this share of them. Beyond that distance every direction
            flips images. None = the reach is not shortened.
        both_sides: whether the line search covers both signs (the published transfer). None = both signs along
            h-directions, which have no sign, but one along g-directions, which point to the goal, and along random
            ones, which are their control.
        The other arguments are those of LatentDistance.
    """

    walked: ClassVar[frozenset[str]]  # arguments that determine renders along random directions

    n_h: Count = 15
    seed: int = 0
    hessian: Literal["class", "loss"] = "class"
    order: Literal["eigenvalue", "flips"] = "eigenvalue"
    n_rank: Count = 128
    n_alphas: Count = 64
    reach: Positive = 3.0
    random_flips: Fraction | None = None
    both_sides: bool | None = None

    def rank(
        self, made: Mapping[str, Tensor], position: int, training: Dataset, classifier: BlackBox
    ) -> dict[str, Tensor]:
        """Orders the h-directions of `hessian` by the share of training images, those after the source, whose class
        changes at some step along the direction."""
        images = self.others(training, position)
        alphas, name = self.steps("h", float(made["reach"])), f"h_{self.hessian}"
        was, (code, noise) = classifier.probability(images).argmax(1), self.encode(images)
        rates = torch.zeros(len(made[name]))
        for i, line in enumerate(made[name]):
            sign = torch.where(was == int(made["class"]), -1.0, 1.0).cpu()
            answer = classifier.probability(
                self.render(code, noise, sign[:, None, None] * alphas[:, None] * line)
            ).argmax(2)
            rates[i] = (answer != was[:, None]).any(1).float().mean()
            log.info("directions: %d of %d ranked", i + 1, len(rates))
        order = rates.argsort(descending=True, stable=True)
        eigenvalues = f"e_{self.hessian}"
        return {name: made[name][order], eigenvalues: made[eigenvalues][order], "rate": rates[order]}

    def shorten_reach(self, training: Dataset, position: int, classifier: BlackBox, cached_part: PartCache) -> Tensor:
        """The farthest of 12 equal steps up to `reach` within which walks along random directions flip at most
        `random_flips` of the images; at least the first step."""
        images = self.others(training, position)
        steps = self.reach * torch.arange(1, RANDOM_STEPS + 1) / RANDOM_STEPS

        def walks() -> dict[str, Tensor]:
            code, noise = self.encode(images)
            names = [f"reach.{row}" for row in range(len(images))]
            lines = F.normalize(
                RandomStreams(self.seed).normal(names, "gcd.random", RANDOM_LINES, code.shape[1]), dim=-1
            )
            both = torch.stack([-lines, lines], 2)[:, :, :, None] * steps[:, None]  # [n, lines, sides, steps, D]
            return {"image": self.render(code, noise, both.flatten(1, 3)).unflatten(1, both.shape[1:4])}

        walk = cached_part(self.walked, 0, walks, source=position)["image"].to(images.device)
        was, answer = classifier.probability(images).argmax(1), classifier.probability(walk).argmax(-1)
        flips = (
            (answer != was[:, None, None, None]).any(2).cummax(2).values.float().mean((0, 1)).cpu()
        )  # by how far a walk goes, on either side
        rates = [f"{rate:.2f} by {step:.2f}" for rate, step in zip(flips.tolist(), steps.tolist(), strict=True)]
        log.info("directions: random ones flip %s", ", ".join(rates))
        within = int((flips <= self.random_flips).sum())
        if not within:
            log.warning(
                "explainer.random_flips=%s: random directions flip %.2f at the first step already",
                self.random_flips,
                flips[0],
            )
        return steps[max(within, 1) - 1]

    def others(self, training: Dataset, position: int) -> Tensor:
        """The n_rank training images after the source."""
        return training.unmasked(training.order()[position + 1 : position + 1 + self.n_rank].tolist()).image.to(
            self.generator.device
        )

    def steps(self, direction: str, reach: float) -> Tensor:
        """The step lengths along directions of a kind (g, h, random) up to a reach, without 0: [n_alphas], or twice
        as many on both sides."""
        ahead = reach * torch.arange(1, self.n_alphas + 1) / self.n_alphas
        return torch.cat([-ahead.flip(0), ahead]) if self.sides(direction) == 2 else ahead

    def sides(self, direction: str) -> int:
        """Number of sides of the image that a line search covers."""
        both = direction == "h" if self.both_sides is None else self.both_sides
        return 2 if both else 1
