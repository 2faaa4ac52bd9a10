"""BB-LIG: attribution along a path from the image to a counterfactual, computed from the classifier's answers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.answers import log_odds
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Count, Fraction
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.base import VALUE_BYTES
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.counterfactual import SearchResult
from pomelo_lab.explainer.directions import DirectionExplainer
from pomelo_lab.explainer.postprocessed import Postprocessed
from pomelo_lab.types import Explanation, Perturbations

DIFFERENCES = ("difference", "squared_difference")


@dataclass(kw_only=True)
class BBLIGExplainer(Postprocessed, DirectionExplainer):
    """Integrates the changes of the classifier's answer along a path of rendered images, from the image to a baseline
    that the classifier does not assign to the target class.

    Source: Sobieski & Biecek (2024), "Global Counterfactual Directions", https://arxiv.org/abs/2404.12488, eq. 2 and 6,
        and their code. The baseline is the first step along the direction at which the target's probability is below
        `threshold`. The path to the baseline is rendered again in 8 bits. Pixels that do not change therefore change by
        exactly 0, and their derivative is 0. Each pixel that changes between two images of the path gets the whole
        difference of the two answers. Maps therefore do not sum to the difference of the answers at the ends.
        Departures: where no step reaches the threshold, the step of the least probability is the baseline. The
        published code then uses a black image and attributes nothing.
    Args:
        variant: bb_lig; lig = true gradients along the same path (eq. 2, white box); bb_ig = differences along the
            straight line to a black image; difference and squared_difference = the image minus the baseline, absolute
            or squared. The last two are controls: they use no answer of the classifier along the path, so the rest of
            bb_lig is the contribution of the answers.
        n_path: images of the path, ends included. Its effect on bb_lig: a pixel that moves by D grey levels in total
            changes in a share s = min(1, D / (n_path - 1)) of the steps, and gets about s^2 of the difference of the
            answers. With 16 images every pixel that moves by 16 levels or more gets the whole difference, whatever its
            effect. With 128 images the map follows the size of the change. lig does not depend on n_path in this way.
        threshold: probability of the target below which the class counts as lost.
        n_search: steps of the search for the baseline, up to `reach`. They lie on one side for g-directions (the
            published code: 128 steps) and on both sides otherwise. The direction is the first of `index`. The other
            arguments are those of DirectionExplainer.
    Shapes: attribution [B,H,W], summed over channels, in log-odds of the target (the two difference variants: in units
        of the image). The counterfactual is the baseline. extra [B]: "alpha", "reached" (NaN for bb_ig) and the
        search's report.
    Cost: per image n_search + n_path renders and as many queries. lig adds n_path forward and backward passes. bb_ig
        needs n_path queries and no renders. bb_lig and the two difference variants share one computation.
    """

    variant: Literal["bb_lig", "lig", "bb_ig", "difference", "squared_difference"] = "bb_lig"
    n_path: Count = 128
    threshold: Fraction = 0.01
    n_search: Count = 128

    @property
    def access(self) -> str:
        return "white_box" if self.variant == "lig" else "black_box"

    @property
    def postprocess_arguments(self) -> frozenset[str]:
        """The arguments that only select a map of a stored explanation.

        bb_lig and the two difference variants share one stored explanation.
        """
        return frozenset({"variant"}) if self.variant in ("bb_lig", *DIFFERENCES) else frozenset()

    def search(self, case: Case, goal: Tensor) -> SearchResult:
        image, target, classifier, reference = case.batch.image, case.target, case.classifier, case.reference
        self.generator.check_images(image)
        rows, share = (
            torch.arange(len(goal), device=goal.device),
            torch.linspace(0, 1, self.n_path, device=image.device),
        )
        if self.variant == "bb_ig":
            path = Perturbations.quantize(image[:, None] * (1 - share[:, None, None, None]))
            details = {"alpha": torch.ones_like(rows), "reached": torch.full(rows.shape, torch.nan)}
            queries = self.n_path
        else:
            code, noise = self.encode(image)
            line, alphas = self.lines(goal, reference)[:, :1], self.alphas(reference).to(code)
            left = self.target_probability(
                classifier.probability(self.render(code, noise, line * alphas[:, None])), target
            )
            below = left < self.threshold
            length = alphas.abs().expand_as(left)
            chosen = torch.where(below.any(1), length.masked_fill(~below, torch.inf).argmin(1), left.argmin(1))
            details = {"alpha": alphas[chosen], "reached": below.any(1)}
            queries = len(alphas) + self.n_path
            details["cosine"] = self.cosine(goal, reference, torch.zeros_like(rows)[:, None])[:, 0]
            path = self.render(code, noise, line * (alphas[chosen][:, None] * share)[..., None])
        answer = classifier.probability(path)
        ends = Perturbations.dequantize(path[:, [0, -1]])
        flipped = (answer[:, -1].argmax(1) == goal).float()
        attribution = self.slopes(path, answer, target, classifier).sum(1)
        change = ends.diff(dim=1)[:, 0]
        details |= {"map_difference": change.abs().sum(1), "map_squared_difference": change.square().sum(1)}
        extra = {**self.report(reference, len(goal)), **details}
        return SearchResult(
            ends[:, 1], flipped, answer[rows, -1, goal], torch.full_like(flipped, queries), extra, attribution
        )

    def postprocess(self, explanation: Explanation) -> Explanation:
        """Selects the attribution map of `variant` from a stored explanation."""
        chosen = explanation.extra.get(f"map_{self.variant}", explanation.attribution)
        extra = {name: value for name, value in explanation.extra.items() if not name.startswith("map_")}
        return replace(explanation, attribution=chosen, extra=extra)

    def alphas(self, reference: Mapping[str, Tensor]) -> Tensor:
        """The step lengths of the search for the baseline: [n_search].

        g-directions have a sign, so all steps are positive. For the others half of the steps are negative.
        """
        if self.direction == "g":
            return self.reach * torch.arange(1, self.n_search + 1) / self.n_search
        ahead = self.reach * torch.arange(1, self.n_search // 2 + 1) / (self.n_search // 2)
        return torch.cat([-ahead.flip(0), ahead])

    @staticmethod
    def target_probability(probability: Tensor, target: Tensor) -> Tensor:
        """Selects the target's probability: probabilities [B,A,K], targets [B] -> [B,A]."""
        return probability.gather(2, target[:, None, None].expand(-1, probability.shape[1], 1))[..., 0]

    def slopes(self, path: Tensor, answer: Tensor, target: Tensor, classifier: BlackBox) -> Tensor:
        """The first minus the last image of the path, times the mean derivative of the log-odds along the path.

        Shapes: path uint8 [B,m,C,H,W], answer [B,m,K] -> [B,C,H,W].
        """
        images = Perturbations.dequantize(path)
        if self.variant == "lig":
            flat, wanted = images.flatten(0, 1), target.repeat_interleave(path.shape[1])

            @torch.enable_grad()
            def part(start: int, stop: int) -> Tensor:
                leaf = flat[start:stop].clone().requires_grad_(True)
                return torch.autograd.grad(classifier.log_odds(leaf, wanted[start:stop]).sum(), leaf)[0]

            mean = classifier.forwards.rows(part, len(flat)).reshape(images.shape).mean(1)
        else:
            rise = log_odds(self.target_probability(answer, target)).diff(dim=1)[..., None, None, None]
            step = images.diff(dim=1)
            mean = torch.where(step == 0, 0.0, rise / torch.where(step == 0, 1.0, step)).mean(1)
        return (images[:, 0] - images[:, -1]) * mean

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        maps = super().cost(shape).bytes + 2 * VALUE_BYTES * shape[1] * shape[2]
        if self.variant == "bb_ig":
            return Cost(queries=1 + self.n_path, bytes=maps)
        passes = 2 if self.variant == "lig" else 1
        return Cost(
            queries=1 + self.n_searched + self.n_path * passes,
            evaluations=self.inversion + (self.n_searched + self.n_path) * self.n_render,
            bytes=maps,
        )

    @property
    def n_searched(self) -> int:
        """Number of images rendered in the search for the baseline."""
        return self.n_search if self.direction == "g" else 2 * (self.n_search // 2)
