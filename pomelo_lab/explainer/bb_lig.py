"""BB-LIG: how much each change on the way to a counterfactual moved the classifier, from its answers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Fraction
from pomelo_lab.explainer.counterfactual import Found
from pomelo_lab.explainer.directions import DirectionExplainer, log_odds
from pomelo_lab.types import Batch, Perturbations


@dataclass(kw_only=True)
class BBLIGExplainer(DirectionExplainer):
    """Integrates the classifier's differences along a path of renders, from the image to one that is surely not of its class.

    Source: paper 003, eq. 2 and 6, and its code: the baseline is the first place along the direction where the target's probability is below
        `threshold`; the path is rendered again up to there, in 8 bits, so that unchanged pixels change by exactly 0, and those get derivative 0; the
        whole difference of the answers stands on every changed pixel, so maps do not sum up to the difference of the answers.
    Args:
        variant: bb_lig; lig = true gradients along the same path (eq. 2, white box); bb_ig = differences along the straight line to a black image.
        n_path: images of the path, ends included.
        threshold: probability of the target that counts as 0. Where no place reaches it the place of the least probability is the baseline (there: a
            black image and no attribution).
        The others as in DirectionExplainer; the direction is the first of `index`.
    Shapes: attribution [B,H,W] summed over channels, in log-odds of the target; counterfactual: the baseline; extra [B] "alpha" and "reached".
    Cost: beside the line search, n_path renders and queries per image; lig: n_path forwards and backwards; bb_ig: n_path queries alone.
    """

    signed = True

    variant: Literal["bb_lig", "lig", "bb_ig"] = "bb_lig"
    n_path: Count = 128
    threshold: Fraction = 0.01

    @property
    def access(self) -> str:
        return "white_box" if self.variant == "lig" else "black_box"

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
        rows, share = torch.arange(len(goal), device=goal.device), torch.linspace(0, 1, self.n_path, device=batch.image.device)
        if self.variant == "bb_ig":
            path = Perturbations.quantize(batch.image[:, None] * (1 - share[:, None, None, None]))
            alpha, reached, queries = torch.ones_like(rows), torch.ones_like(rows), self.n_path
        else:
            code, noise = self.encoded(batch.image)
            line, alphas = self.lines(goal, reference)[:, :1], self.alphas().to(code)
            left = self.of(classifier.probability(self.drawn(code, noise, line * alphas[:, None])), target)
            below = left < self.threshold
            length = alphas.abs().expand_as(left)
            place = torch.where(below.any(1), length.masked_fill(~below, torch.inf).argmin(1), left.argmin(1))
            alpha, reached, queries = alphas[place], below.any(1), len(alphas) + self.n_path
            path = self.drawn(code, noise, line * (alpha[:, None] * share)[..., None])
        answer = classifier.probability(path)
        last = Perturbations.dequantize(path[:, -1])
        flipped = (answer[:, -1].argmax(1) == goal).float()
        attribution = self.slopes(path, answer, target, classifier).sum(1)
        extra = {"alpha": alpha, "reached": reached}
        return Found(last, flipped, answer[rows, -1, goal], torch.full_like(flipped, queries), extra, attribution)

    @staticmethod
    def of(probability: Tensor, target: Tensor) -> Tensor:
        """The targets' [B] share of probabilities [B,A,K]: [B,A]."""
        return probability.gather(2, target[:, None, None].expand(-1, probability.shape[1], 1))[..., 0]

    def slopes(self, path: Tensor, answer: Tensor, target: Tensor, classifier: BlackBox) -> Tensor:
        """First minus last image times the mean derivative between them [B,C,H,W]; path uint8 [B,m,C,H,W], its answers [B,m,K]."""
        images = Perturbations.dequantize(path)
        if self.variant == "lig":
            flat, of = images.flatten(0, 1), target.repeat_interleave(path.shape[1])

            @torch.enable_grad()
            def some(start: int, stop: int) -> Tensor:
                at = flat[start:stop].clone().requires_grad_(True)
                return torch.autograd.grad(classifier.log_odds(at, of[start:stop]).sum(), at)[0]

            mean = classifier.forwards.rows(some, len(flat)).reshape(images.shape).mean(1)
        else:
            rise = log_odds(self.of(answer, target)).diff(dim=1)[..., None, None, None]
            step = images.diff(dim=1)
            mean = torch.where(step == 0, 0.0, rise / torch.where(step == 0, 1.0, step)).mean(1)
        return (images[:, 0] - images[:, -1]) * mean

    def queries(self, shape: tuple[int, int, int]) -> int:
        return 1 + self.n_path if self.variant == "bb_ig" else 1 + len(self.alphas()) + self.n_path * (2 if self.variant == "lig" else 1)

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        return 0 if self.variant == "bb_ig" else super().evaluations(shape) + self.n_path * self.n_render
