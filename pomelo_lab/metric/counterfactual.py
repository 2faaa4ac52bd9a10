"""Scores of counterfactuals: whether they reach the goal class, and their distance to the image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import index_pairs
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.pixel_game import ask, changed_pixels, paste_steps, rank_pixels, step_grid
from pomelo_lab.types import Explanation, Perturbations, to_8_bits

Population = Literal["all", "successes", "correct", "correct_successes"]


def in_8_bits(image: Tensor) -> Tensor:
    """The image as stored in an image file: k/255, clamped to [0,1]."""
    return Perturbations.dequantize(to_8_bits(image))


def successes(explanations: Sequence[Explanation]) -> Tensor:
    """1 where an explainer reports that it reached the goal class, for each of V explanations: float [B,V]."""
    return torch.stack([explanation.extra["flipped"] for explanation in explanations], 1)


@dataclass(kw_only=True)
class CounterfactualMetric(Metric, ABC):
    """The base class of scores of counterfactuals, which are first rounded to 8 bits, as in an image file.

    matched: whether the score may be restricted to images on which several methods succeed (results/matched.py).
    Args:
        population: which images enter the mean: "all"; "successes", for which the explainer reports that it reached the
            goal class; "correct", which the classifier predicts correctly; or both. `Summary.n` is their number.
    Shapes: score also gives "counted" [B]. Images with 0 have the value NaN, which is not an undefined score.
    """

    reads = frozenset({"counterfactual"})
    matched: ClassVar[bool] = True
    needs = frozenset({"explanation", "classifier"})

    population: Population = "all"

    @abstractmethod
    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        """Scores all images, counted or not; counterfactual [B,C,H,W] on the 8-bit grid."""

    def score(self, case: Case) -> dict[str, Tensor]:
        image = in_8_bits(self.ensure_given(case.explanation.counterfactual, "counterfactuals"))
        counted = self.in_population(case)
        rows = self.measure(case, image)
        if "value" in rows:
            rows["value"] = rows["value"].double().masked_fill(~counted.to(rows["value"].device), torch.nan)
        return {**rows, "counted": counted.float()}

    def in_population(self, case: Case) -> Tensor:
        """Whether each image belongs to the population: bool [B]."""
        mask = torch.ones(len(case.batch), dtype=torch.bool, device=case.batch.image.device)
        if self.population in ("successes", "correct_successes"):
            mask &= case.explanation.extra["flipped"].to(mask.device) > 0.5
        if self.population in ("correct", "correct_successes"):
            mask &= (
                case.classifier.probability(case.batch.image).argmax(1) == case.batch.label.to(case.classifier.device)
            ).to(mask.device)
        return mask

    @property
    def asks_label(self) -> int:
        return int(self.population.startswith("correct"))

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return Cost(queries=self.asks_label)


@dataclass(kw_only=True)
class FlipRate(CounterfactualMetric):
    """Whether the classifier assigns the counterfactual to the goal class.

    Source: Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, section 4 ("flip ratio"), and its
        code; Sobieski & Biecek (2024), https://arxiv.org/abs/2404.12488. Departures: none with of=float.
    Args: of: "float" = the counterfactual before it is clamped, as in the code; these flips define "successes" in all
        other scores. "image" = the counterfactual in 8 bits, as in an image file.
    Cost: one query per image with of=image.
    """

    direction: ClassVar = "higher"
    matched = False  # a share of all images

    of: Literal["image", "float"] = "float"

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        if self.of == "float":
            return {"value": case.explanation.extra["flipped"]}
        goal = case.explanation.extra["goal"].long()
        return {"value": (case.classifier.probability(counterfactual).argmax(1).to(goal.device) == goal).double()}

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return super().cost(shape, n_perturbations) + Cost(queries=int(self.of == "image"))


@dataclass(kw_only=True)
class BKL(CounterfactualMetric):
    """1 - p(goal) of the counterfactual.

    Source: the code of Jeanneret et al. (2023), https://arxiv.org/abs/2303.09962; a bounded remapping of the KL
        divergence by Samangouei et al. (2018). Departures: none.
    Cost: a query per image.
    """

    direction: ClassVar = "lower"

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        goal = case.explanation.extra["goal"].long().to(case.classifier.device)
        return {"value": 1 - case.classifier.probability(counterfactual).gather(1, goal[:, None])[:, 0].double()}

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return super().cost(shape, n_perturbations) + Cost(queries=1)


@dataclass(kw_only=True)
class L1(CounterfactualMetric):
    """Mean absolute difference between image and counterfactual, over pixels and channels.

    Source: Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, its code. Departures: none.
    Cost: no queries.
    """

    direction: ClassVar = "lower"

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        return {"value": (counterfactual - case.batch.image).double().abs().mean((1, 2, 3))}


@dataclass(kw_only=True)
class COUT(CounterfactualMetric):
    """How early the answer changes to the goal while pixels of the counterfactual replace those of the image, the most
    changed ones first; in [-1,1].

    Source: Khorram & Fuxin (2022), https://arxiv.org/abs/2203.15064; the code of ACE (Jeanneret et al. 2023). Area
        under p(goal) minus that under p(target) over the replaced share. Departures: a counterfactual equal to its
        image scores p(goal) - p(target) (NaN in the code).
    Args:
        n_steps: approximate number of steps; each replaces H * W // n_steps pixels.
        exact: False counts the last step as a full one, as the code does, so that the axis ends beyond 1.
    Shapes: score also gives "goal" and "target" [B,T], the probabilities.
    Cost: 1 + ceil(H * W / step) queries per image.
    """

    direction: ClassVar = "higher"

    population: Population = "correct"
    n_steps: int = 50
    exact: bool = True

    def measure(self, case: Case, counterfactual: Tensor) -> dict[str, Tensor]:
        image, n_px = case.batch.image, case.batch.image[0, 0].numel()
        count, share = step_grid(n_px, self.step(n_px))
        rank = rank_pixels((counterfactual - image).abs().sum(1), ties="first")
        images = paste_steps(image, counterfactual, changed_pixels(rank, count))
        row, step = index_pairs(len(image), len(count), image.device)
        answer = ask(case.classifier, images, row, step).view(len(image), len(count), -1)
        axis = share if self.exact else torch.arange(len(count)).double() * self.step(n_px) / n_px
        curves, areas = {}, {}
        for name, label in (("goal", case.explanation.extra["goal"].long()), ("target", case.target)):
            curve = answer.gather(2, label.to(answer.device)[:, None, None].expand(-1, len(count), 1))[..., 0]
            curves[name], areas[name] = curve.float(), torch.trapezoid(curve, axis.to(curve), dim=1)
        return {"value": areas["goal"] - areas["target"], **curves}

    def step(self, n_px: int) -> int:
        """Pixels replaced per step."""
        return max(1, n_px // self.n_steps)

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        n_px = shape[1] * shape[2]
        return super().cost(shape, n_perturbations) + Cost(queries=len(step_grid(n_px, self.step(n_px))[0]))
