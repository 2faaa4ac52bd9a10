"""BB-LIG: how much each change on the way to a counterfactual moved the classifier, from its answers alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.base import BlackBox, log_odds
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
    """Integrates the classifier's differences along a path of renders, from the image to one that is surely not of
    its class.

    Source: Sobieski & Biecek, "Global Counterfactual Directions", eq. 2 and 6, and their code: the baseline is the
        first step along the direction where the target's probability is below `threshold`; the path is rendered again
        up to there, in 8 bits, so that unchanged pixels change by exactly 0, and those get derivative 0; the whole
        difference of the answers stands on every pixel that changed between two images of the path, so maps do not
        sum up to the difference of the answers. Departures: where no step reaches the threshold the one of the least
        probability is the baseline (there a black image and no attribution).
    Args:
        variant: bb_lig; lig = true gradients along the same path (eq. 2, white box); bb_ig = differences along the
            straight line to a black image; difference and squared_difference = image less baseline, absolute or
            squared, without any answer of the classifier on the way (controls: what is left of bb_lig is what the
            answers add).
        n_path: images of the path, ends included. It decides what bb_lig sees: a pixel that moves by D levels in all
            changes in min(1, D / (n_path - 1)) of the steps, and gets about the square of that share of the
            difference of the answers. With 16 images everything that moves by 16 levels gets all of it, whatever it
            does; with 128 the map follows the change. lig does not depend on it.
        threshold: probability of the target that counts as 0.
        n_search: steps of the search for the baseline, up to `reach`; on one side for g-directions (the code: 128).
            The others as in DirectionExplainer; the direction is the first of `index`.
    Shapes: attribution [B,H,W] summed over channels, in log-odds of the target (differences: in units of the image);
        counterfactual: the baseline; extra [B] "alpha" and "reached" (NaN for bb_ig) and the search's report.
    Cost: n_search renders and queries, and n_path of each, per image; lig: n_path forwards and backwards beside;
        bb_ig: n_path queries alone. bb_lig and the differences are made together.
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
        """The differences between the ends of BB-LIG's path are read from the same stored explanation."""
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
        """The map of this explainer's variant."""
        chosen = explanation.extra.get(f"map_{self.variant}", explanation.attribution)
        extra = {name: value for name, value in explanation.extra.items() if not name.startswith("map_")}
        return replace(explanation, attribution=chosen, extra=extra)

    def alphas(self, reference: Mapping[str, Tensor]) -> Tensor:
        """The steps of the search for the baseline: [n_search]; on both sides, half as many each, along directions
        without a sign.
        """
        if self.direction == "g":
            return self.reach * torch.arange(1, self.n_search + 1) / self.n_search
        ahead = self.reach * torch.arange(1, self.n_search // 2 + 1) / (self.n_search // 2)
        return torch.cat([-ahead.flip(0), ahead])

    @staticmethod
    def target_probability(probability: Tensor, target: Tensor) -> Tensor:
        """The targets' [B] share of probabilities [B,A,K]: [B,A]."""
        return probability.gather(2, target[:, None, None].expand(-1, probability.shape[1], 1))[..., 0]

    def slopes(self, path: Tensor, answer: Tensor, target: Tensor, classifier: BlackBox) -> Tensor:
        """First minus last image times the mean derivative between them [B,C,H,W]; path uint8 [B,m,C,H,W], its
        answers [B,m,K].
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
        """Steps that are rendered in the search for the baseline."""
        return self.n_search if self.direction == "g" else 2 * (self.n_search // 2)
