"""GCD: counterfactuals of all images along the same global direction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.answers import log_odds
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.base import VALUE_BYTES
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.counterfactual import SearchResult
from pomelo_lab.explainer.directions import DirectionExplainer
from pomelo_lab.explainer.postprocessed import Postprocessed
from pomelo_lab.types import Explanation, Perturbations

RULES = ("argmin", "first_flip", "best_flip")


@dataclass(kw_only=True)
class GCDExplainer(Postprocessed, DirectionExplainer):
    """Renders an image at several steps along a global direction and returns the step of the least counterfactual
    loss.

    Source: Sobieski & Biecek (2024), "Global Counterfactual Directions", https://arxiv.org/abs/2404.12488, eq. 5, and
        their code. The code shows all steps, counts an image as flipped when any step is of the other class, and
        chooses no step. Departures: one step is chosen, by `rule`.
    Args:
        rule: argmin = the step of the least loss (eq. 5); first_flip = the nearest step that the classifier assigns to
            the goal; best_flip = the step of the least loss among those of the goal. The last two use argmin where no
            step reaches the goal. All rules choose among the same renders, which are computed once. The other arguments
            are those of DirectionExplainer.
    Shapes: extra [B]: "alpha" (signed distance walked), "used" (position of the direction in `index`), "anywhere" (1.0
        when any step is of the goal's class), "at_end" (1.0 when the farthest step was chosen). For every step: "score"
        (log-odds of the goal) and "distance", [B,n * steps]. For every rule: "choice_*" [B,3,...]. "tries" is the
        number of renders.
    """

    postprocess_arguments = frozenset({"rule"})

    rule: Literal["argmin", "first_flip", "best_flip"] = "argmin"

    def search(self, case: Case, goal: Tensor) -> SearchResult:
        image, classifier, reference = case.batch.image, case.classifier, case.reference
        self.generator.check_images(image)
        code, noise = self.encode(image)
        alphas = self.alphas(reference).to(code)
        shift = (self.lines(goal, reference)[:, :, None] * alphas[:, None]).flatten(1, 2)
        images = self.render(code, noise, shift)
        probability = classifier.probability(images)
        reached = probability.argmax(-1) == goal[:, None]
        of_goal = probability.gather(2, goal[:, None, None].expand(-1, images.shape[1], 1))[..., 0]
        score, distance = log_odds(of_goal), self.distance(image, images, reference["unit"])
        loss, length = self.loss(score, distance), alphas.abs().repeat(len(self.index))
        chosen = torch.stack([self.choose_step(loss, reached, length, rule) for rule in RULES], 1)
        rows = torch.arange(len(goal), device=goal.device)[:, None]
        options = images[rows, chosen]
        alpha, used = alphas[chosen % len(alphas)], chosen // len(alphas)
        choices = {
            "image": options,
            "change": (Perturbations.dequantize(options) - image[:, None]).abs().mean(2),
            "flipped": reached[rows, chosen].float(),
            "goal_probability": of_goal[rows, chosen],
            "alpha": alpha,
            "at_end": (alpha.abs() == alphas.abs().max()).float(),
            "used": used.float(),
            "cosine": self.cosine(goal, reference, used),
        }
        extra = {f"choice_{name}": value for name, value in choices.items()}
        chosen_rule = RULES.index(self.rule)
        extra |= {name: choices[name][:, chosen_rule].clone() for name in ("alpha", "at_end", "used", "cosine")}
        extra |= {"score": score, "distance": distance, "anywhere": reached.any(1), **self.report(reference, len(goal))}
        tries = torch.full_like(alphas[:1], images.shape[1]).expand(len(goal))
        flipped, goal_probability = (choices[name][:, chosen_rule].clone() for name in ("flipped", "goal_probability"))
        return SearchResult(Perturbations.dequantize(options[:, chosen_rule]), flipped, goal_probability, tries, extra)

    def postprocess(self, explanation: Explanation) -> Explanation:
        """Selects the step that `rule` chose from a stored explanation."""
        chosen = {
            name.removeprefix("choice_"): value[:, RULES.index(self.rule)]
            for name, value in explanation.extra.items()
            if name.startswith("choice_")
        }
        image, change = Perturbations.dequantize(chosen.pop("image")), chosen.pop("change")
        extra = {name: value for name, value in explanation.extra.items() if not name.startswith("choice_")}
        return replace(explanation, attribution=change, counterfactual=image, extra={**extra, **chosen})

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        channels, height, width = shape
        # the chosen image of each rule is stored in 8 bits
        return super().cost(shape) + Cost(bytes=len(RULES) * (channels + VALUE_BYTES) * height * width)

    def choose_step(self, loss: Tensor, reached: Tensor, length: Tensor, rule: str | None = None) -> Tensor:
        """The step that a rule chooses for each image: loss and reached [B,M], length [M] -> int64 [B]."""
        rule = rule or self.rule
        if rule == "argmin":
            return loss.argmin(1)
        wanted = loss if rule == "best_flip" else length.expand_as(loss)
        return torch.where(reached.any(1), wanted.masked_fill(~reached, torch.inf).argmin(1), loss.argmin(1))
