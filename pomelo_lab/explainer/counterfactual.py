"""The base of explainers that return a counterfactual: an image of another class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pomelo_lab.config.hints import Natural
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.generator.diffusion import Schedule, posterior
from pomelo_lab.generator.learned_variance import interpolated
from pomelo_lab.types import Explanation


@dataclass(frozen=True)
class SearchResult:
    """The results of a search for counterfactuals, per image.

    image:       [B,C,H,W], need not lie in [0,1]
    flipped:     [B], 1.0 where the classifier gives the goal to `image`
    probability: [B], of the goal
    tries:       [B]
    extra:       more named tensors [B,...]
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
    """An explainer whose answer is the image as it would have to be for another class.

    Args: goal: the class to reach; None = the most probable one beside the target (of two classes: the other).
    Shapes: counterfactual [B,C,H,W] in [0,1]; attribution [B,H,W], the mean absolute change of a pixel unless said
        otherwise; extra [B]: "goal", "flipped" (1.0 where the classifier gives the goal to the image as the method left
        it, before it was clamped), "goal_probability" of that image, and "tries".
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
        """Search images of the goal classes, int64 [B]."""

    def goals(self, case: Case) -> Tensor:
        """The class to reach, int64 [B]. Raises ValueError when it is the target's or does not exist."""
        target, classifier = case.target, case.classifier
        if self.goal is None:
            return classifier.probability(case.batch.image).scatter(1, target[:, None], -1.0).argmax(1)
        if self.goal >= classifier.num_classes:
            raise ValueError(
                f"explainer.goal must be below {classifier.num_classes}, the number of classes, got {self.goal}"
            )
        return torch.full_like(target, self.goal)


@dataclass(frozen=True)
class Ancestral:
    """Steps of a respaced DDPM with the variances of the posterior, or learned ones.

    The last posterior variance is that of the step before, as guided diffusion has it.

    Diffusers clamps the last variance to 0. That does not matter for sampling, where no noise is added there, but for
    guidance, whose gradient is multiplied by it.
    """

    schedule: Schedule

    def variance(self, k: int) -> float:
        """The posterior variance of step k, which goes from noise level k to k - 1."""
        k = max(k, min(2, self.schedule.n_steps))
        start, end = self.schedule.alphas_cumprod[k], self.schedule.alphas_cumprod[k - 1]
        return (1 - start / end) * (1 - end) / (1 - start)

    def step_variance(self, k: int, share: Tensor | None) -> Tensor | float:
        """The variance of step k.

        Args: share: of the way from the posterior's variance to beta, as the network has learned it; None = none.
        """
        if share is None:
            return self.variance(k)
        return interpolated(
            share, self.variance(k), 1 - self.schedule.alphas_cumprod[k] / self.schedule.alphas_cumprod[k - 1]
        )

    def mean(self, x: Tensor, x0: Tensor, k: int) -> Tensor:
        """Mean of the posterior at noise level k - 1, given x at level k and its clean estimate."""
        return posterior(x, x0, self.schedule.alphas_cumprod[k], self.schedule.alphas_cumprod[k - 1])[0]

    def sample(
        self,
        clean: Callable[[Tensor, int], tuple[Tensor, Tensor | None]],
        x: Tensor,
        k: int,
        noise: Callable[[int], Tensor],
    ) -> Tensor:
        """Go from noise level k down to a clean image, with k evaluations of the denoiser.

        Args:
            clean: (x, step) -> (clean estimate, learned share of the variance or None).
            noise: step -> standard normals; the last step adds none.
        """
        for step in range(k, 0, -1):
            x0, share = clean(x, step)
            x = self.mean(x, x0, step)
            if step > 1:
                x = x + self.step_variance(step, share) ** 0.5 * noise(step)
        return x


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
