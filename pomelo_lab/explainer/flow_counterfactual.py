"""Counterfactuals by gradient ascent in the latent space of a normalizing flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.config.hints import Natural, Positive, Range
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import record
from pomelo_lab.explainer.counterfactual import CounterfactualExplainer, SearchResult
from pomelo_lab.generator.base import Flow


@dataclass(kw_only=True)
class FlowCounterfactualExplainer(CounterfactualExplainer):
    """Moves the image's latent by Adam towards the goal class until the classifier is sure enough. No other term keeps
    the image close.

    Source: Dombrowski et al. (2021), https://arxiv.org/abs/2206.05075 (diffeomorphic counterfactuals) and its code; the
        flow baseline in the GCD literature. Departures: images are optimised together, each until it is sure. An image
        that never is keeps its last version (the published code returns nothing).
    Args:
        generator: the flow. If the config leaves it out, the job's generator is used.
        n_steps, lr: largest number of steps and learning rate of Adam on the latent (the code: 1,000 steps of 5e-3 on
            faces).
        sure: probability of the goal at which the search for an image ends.
    Shapes: `tries` is the number of steps taken. extra "loss" [B,n_steps], the class loss at every step, filled with
        the last value after the end of a search; "moving" [B] (see convergence.py).
    Cost: at most n_steps forward and backward passes of flow and classifier per image; one encoding.
    """

    revision: ClassVar[int] = 2  # stores its loss

    access: ClassVar[str] = "white_box"
    differentiates = frozenset({"classifier", "generator"})

    generator: Flow
    n_steps: Natural = 1000
    lr: Positive = 5e-3
    sure: Annotated[float, Range(above=0, below=1)] = 0.99

    def search(self, case: Case, goal: Tensor) -> SearchResult:
        image, classifier = case.batch.image, case.classifier
        self.generator.check_images(image)

        def part(start: int, stop: int) -> tuple[Tensor, ...]:
            return self.walk(image[start:stop], goal[start:stop], classifier)

        *answers, loss = classifier.forwards.rows(part, len(case))
        return SearchResult(*answers, record(loss))

    @torch.enable_grad()
    def walk(self, image: Tensor, goal: Tensor, classifier: WhiteBox) -> tuple[Tensor, ...]:
        """Runs the search: (images [B,C,H,W], flipped, goal probability, steps [B], loss [B,n_steps]).

        Images leave the batch when their search ends.
        """
        with torch.no_grad():
            latent = self.generator.encode(image)
            images = self.generator.decode(latent)
        steps = torch.zeros(len(image), device=image.device)
        rows = torch.arange(len(image), device=image.device)
        losses = image.new_zeros(len(image), self.n_steps)
        # Adam's moments; torch's optimiser cannot drop images from the batch
        first, second = torch.zeros_like(latent), torch.zeros_like(latent)
        for step in range(1, self.n_steps + 1):
            leaf = latent[rows].detach().requires_grad_(True)
            made = self.generator.decode(leaf)
            odds = classifier.log_odds(made, goal[rows])
            images[rows] = made.detach()
            losses[rows, step - 1 :] = F.softplus(-odds.detach())[:, None].to(losses)
            done = odds.detach().sigmoid() > self.sure
            steps[rows] = step - 1.0
            if done.all():
                break
            (slope,) = torch.autograd.grad(F.softplus(-odds).sum(), leaf)
            rows, slope = rows[~done], slope[~done]
            first[rows] = 0.9 * first[rows] + 0.1 * slope
            second[rows] = 0.999 * second[rows] + 0.001 * slope.square()
            size = (second[rows] / (1 - 0.999**step)).sqrt() + 1e-8
            latent[rows] -= self.lr * first[rows] / (1 - 0.9**step) / size
            steps[rows] = float(step)
        else:
            with torch.no_grad():
                images[rows] = self.generator.decode(latent[rows])
        answer = classifier.probability(images)
        probability = answer.gather(1, goal[:, None])[:, 0]
        return images, (answer.argmax(1) == goal).float(), probability, steps, losses

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(queries=2 + self.n_steps, evaluations=3 + self.n_steps, at_most=True)
