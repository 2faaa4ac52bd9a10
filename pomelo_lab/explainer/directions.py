"""Base class of explainers that move an image's latent code along global counterfactual directions."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.hints import Natural
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.direction_search import DirectionSearch
from pomelo_lab.explainer.fit_in_parts import PartCache


@dataclass(kw_only=True)
class DirectionExplainer(DirectionSearch, ABC):
    """Moves the semantic code of an image along a direction that was computed around the code of another image, the
    source.

    Source: Sobieski & Biecek (2024), "Global Counterfactual Directions", https://arxiv.org/abs/2404.12488, section 4,
        and its code (transfer of directions). Departures: see DirectionSearch.
    Args:
        direction: g, h or random. Random directions are unit vectors drawn by seed and index; they are the control.
        index: which directions of that kind. With several, each image uses the one of the least loss. The other
            arguments are those of DirectionSearch.
    Shapes: extra [B], the search's report: "explained" and "explained_distance" (share of the variance of held-out
        renders that the proxy explains), "left" (share of renders that are not of the source's class),
        "source_probability" (the source's probability of its class), "cosine" (absolute cosine between the direction
        walked and the g-direction of the class score), "reach", and "moving" (how far the proxy's validation loss was
        from rest at the end of training). A loss on a plateau is at rest too, so read "explained" as well.
    Cost: per explained image n_invert * (1 + fixed_point) evaluations, and one render and one query for each step of
        each direction.
    """

    access: ClassVar[str] = "black_box"

    direction: Literal["g", "h", "random"] = "g"
    index: list[Natural] = field(default_factory=lambda: [0])

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports indices without a direction, and the problems of the search's arguments."""
        yield from super().config_problems(given)
        known = {"g": len(given["g_weights"]), "h": given["n_h"], "random": math.inf}[given["direction"]]
        for index in given["index"] or [-1]:
            if not 0 <= index < known:
                yield f"index must name directions 0..{known - 1}, got {given['index']}"
                break

    def goals(self, case: Case) -> Tensor:
        """Goal classes [B]. An image of the source's class gets the usual goal of a counterfactual.

        Any other image gets the source's class, because a direction only separates that class from the rest.
        """
        goal, target, source_class = super().goals(case), case.target, int(case.reference["class"])
        elsewhere = (target != source_class) & (target != goal)
        if self.goal is not None and self.goal != source_class and bool(elsewhere.any()):
            raise ValueError(
                f"explainer.goal must be {source_class}, the source's class, or left out: from other classes the "
                f"directions lead nowhere else"
            )
        return torch.where(target == source_class, goal, source_class)

    def load(self, training: Dataset, classifier: BlackBox, cached_part: PartCache) -> dict[str, Tensor]:
        """Reads directions as DirectionSearch does.

        Raises: ValueError also when `index` names directions that the file lacks.
        """
        made = super().load(training, classifier, cached_part)
        known = math.inf if self.direction == "random" else len(made["g" if self.direction == "g" else "h_class"])
        if max(self.index) >= known:
            raise ValueError(
                f"explainer.index must name directions 0..{known - 1} of explainer.directions={self.directions}, "
                f"got {self.index}"
            )
        return made

    def lines(self, goal: Tensor, reference: Mapping[str, Tensor]) -> Tensor:
        """Unit directions towards the goals of B images, one per entry of `index`: goals [B] -> [B,n,D]."""
        if self.direction == "random":
            names = [f"random.{index}" for index in self.index]
            chosen = F.normalize(RandomStreams(self.seed).normal(names, "gcd.random", reference["g"].shape[1]), dim=-1)
        else:
            chosen = reference["g" if self.direction == "g" else f"h_{self.hessian}"][self.index]
        sign = torch.where(goal == int(reference["class"]), 1.0, -1.0)
        return sign[:, None, None] * chosen.to(goal.device)

    def alphas(self, reference: Mapping[str, Tensor]) -> Tensor:
        """The step lengths of the line search, without 0: [n_alphas], or twice as many when both signs are tried."""
        return self.steps(self.direction, float(reference["reach"]))

    def cosine(self, goal: Tensor, reference: Mapping[str, Tensor], used: Tensor) -> Tensor:
        """Absolute cosine between the directions that were walked and the g-direction of the class score.

        Shapes: used [B,k], positions in `index` -> [B,k].
        """
        return (self.lines(goal, reference) @ reference["g_class"].to(goal.device)).abs().gather(1, used)

    def report(self, reference: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
        """Repeats the search's report for n images. The class docstring lists its entries."""
        report = {"explained": reference["explained"][int(reference["class"])]}
        report |= {"explained_distance": reference["explained"][-1]}
        report |= {name: reference[name] for name in ("left", "source_probability", "reach", "moving")}
        return {"loss": reference["loss"].expand(n, -1)} | {name: value.expand(n) for name, value in report.items()}

    def loss(self, score: Tensor, distance: Tensor) -> Tensor:
        """The counterfactual loss of eq. 1: weighted negative log-odds of the goal plus weighted distance."""
        return self.loss_weights[0] * -score + self.loss_weights[1] * distance

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(
            queries=1 + len(self.index) * self.sides(self.direction) * self.n_alphas,
            evaluations=self.inversion + len(self.index) * self.sides(self.direction) * self.n_alphas * self.n_render,
        )
