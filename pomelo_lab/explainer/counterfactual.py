"""The base class of explainers that return a counterfactual: a changed image that belongs to another class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pomelo_lab.config.hints import Natural
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation


@dataclass(frozen=True)
class SearchResult:
    """The results of a search for counterfactuals, per image.

    image:       [B,C,H,W], may exceed [0,1]
    flipped:     [B], 1.0 where the classifier assigns `image` to the goal
    probability: [B], probability of the goal
    tries:       [B], number of tries
    extra:       further named tensors [B,...]
    attribution: [B,H,W]; None = the mean absolute change of each pixel
    """

    image: Tensor
    flipped: Tensor
    probability: Tensor
    tries: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    attribution: Tensor | None = None


@dataclass(kw_only=True)
class CounterfactualExplainer(Explainer, ABC):
    """An explainer that changes an image until the classifier assigns it to another class.

    Args: goal: the class to reach; None = the most probable class except the target (of two classes: the other one).
    Shapes: counterfactual [B,C,H,W] in [0,1]. attribution [B,H,W], the mean absolute change of a pixel unless stated
        otherwise. extra [B]: "goal", "flipped" (1.0 where the classifier assigns the image to the goal before it is
        clamped), "goal_probability" of the same image, and "tries".
    """

    gives = frozenset({"attribution", "counterfactual"})
    goal: Natural | None = None

    def explain(self, case: Case) -> Explanation:
        goal = self.goals(case)
        result = self.search(case, goal)
        counterfactual = result.image.clamp(0, 1)
        numbers = {
            "goal": goal,
            "flipped": result.flipped,
            "goal_probability": result.probability,
            "tries": result.tries,
            **result.extra,
        }
        return Explanation(
            target=case.target,
            attribution=(counterfactual - case.batch.image).abs().mean(1)
            if result.attribution is None
            else result.attribution,
            counterfactual=counterfactual,
            extra={name: value if value.dtype == torch.uint8 else value.float() for name, value in numbers.items()},
        )

    @abstractmethod
    def search(self, case: Case, goal: Tensor) -> SearchResult:
        """Searches for images of the goal classes, int64 [B]."""

    def goals(self, case: Case) -> Tensor:
        """The goal classes, int64 [B]. Raises: ValueError for a class that does not exist."""
        return choose_goals(case, self.goal)


def choose_goals(case: Case, goal: int | None) -> Tensor:
    """The classes that counterfactuals are to reach, int64 [B].

    Args: goal: one class for all; None = the most probable class except the target.
    Raises: ValueError for a class that does not exist.
    """
    target, classifier = case.target, case.classifier
    if goal is None:
        return classifier.probability(case.batch.image).scatter(1, target[:, None], -1.0).argmax(1)
    if goal >= classifier.num_classes:
        raise ValueError(f"explainer.goal must be below {classifier.num_classes}, the number of classes, got {goal}")
    return torch.full_like(target, goal)


def trace(
    make: Callable[[Tensor], tuple[Tensor, Tensor | None]], z: Tensor, asked: bool
) -> tuple[Tensor, Tensor | None, Callable[[Tensor], Tensor] | None]:
    """Evaluate make(z) without keeping its graph.

    Returns: the two values of make(z), and a function that multiplies a gradient at the first of them by the transposed
        Jacobian, which gives the gradient at z; None unless `asked`.
    """
    if not asked:
        with torch.no_grad():
            return *make(z), None
    with torch.enable_grad():
        leaf = z.detach().requires_grad_(True)
        made, share = make(leaf)

    def back(gradient: Tensor) -> Tensor:
        return torch.autograd.grad(made, leaf, gradient, retain_graph=True)[0]

    return made.detach(), None if share is None else share.detach(), back
