"""GCD: counterfactuals along one direction for all images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.explainer.counterfactual import Found
from pomelo_lab.explainer.directions import DirectionExplainer, log_odds
from pomelo_lab.types import Batch, Perturbations


@dataclass(kw_only=True)
class GCDExplainer(DirectionExplainer):
    """The place along the direction with the least counterfactual loss.

    Source: paper 003, eq. 5, and its code, which shows all places and chooses none.
    Args: rule: argmin = the least loss of all places (eq. 5); first_flip = the nearest place of the goal's class, argmin where there is none;
        best_flip = the least loss among places of the goal's class, argmin where there is none.
        The others as in DirectionExplainer.
    Shapes: extra, per image: "alpha" [B], "used" [B] (which of the directions), and of every place "score" (log-odds of the goal) and "distance",
        [B,n * places]; "tries" is the number of renders.
    """

    rule: Literal["argmin", "first_flip", "best_flip"] = "argmin"

    def sought(
        self,
        batch: Batch,
        target: Tensor,
        goal: Tensor,
        classifier: BlackBox,
        streams: Streams,
        reference: Mapping[str, Tensor] | None = None,
    ) -> Found:
        self.generator.check_images(batch.image)
        code, noise = self.encoded(batch.image)
        alphas = self.alphas().to(code)
        shift = (self.lines(goal, reference)[:, :, None] * alphas[:, None]).flatten(1, 2)
        images = self.drawn(code, noise, shift)
        probability = classifier.probability(images)
        reached = probability.argmax(-1) == goal[:, None]
        of_goal = probability.gather(2, goal[:, None, None].expand(-1, images.shape[1], 1))[..., 0]
        score, distance = log_odds(of_goal), self.distance(batch.image, images)
        chosen = self.chosen(self.loss(score, distance), reached, alphas.abs().repeat(len(self.index)))
        rows = torch.arange(len(goal), device=goal.device)
        extra = {"alpha": alphas[chosen % len(alphas)], "used": chosen // len(alphas), "score": score, "distance": distance}
        found = Perturbations.dequantize(images[rows, chosen])
        tries = torch.full_like(alphas[:1], images.shape[1]).expand(len(goal))
        return Found(found, reached[rows, chosen].float(), of_goal[rows, chosen], tries, extra)

    def chosen(self, loss: Tensor, reached: Tensor, length: Tensor) -> Tensor:
        """The place of each image by the rule: loss and reached [B,M], length [M] -> int64 [B]."""
        if self.rule == "argmin":
            return loss.argmin(1)
        wanted = loss if self.rule == "best_flip" else length.expand_as(loss)
        return torch.where(reached.any(1), wanted.masked_fill(~reached, torch.inf).argmin(1), loss.argmin(1))
