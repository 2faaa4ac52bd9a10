"""A single known cause of the picture: its effect on the classifier, and the share of an explanation on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.cost import Cost
from pomelo_lab.dataset.portraits import Portraits
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric


@dataclass(kw_only=True)
class FactorMetric(Metric):
    """The base class of scores of one cause.

    Args:
        dataset: portraits; by default the job's data set.
        factor: name of a cause, such as mark, glasses or hair_color.
    Raises: ValueError for unknown causes.
    """

    dataset: Portraits
    factor: str = "mark"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dataset.model.check([self.factor])

    def render_values(self, case: Case) -> list[Tensor]:
        """The images rendered again with each value of the factor: [B,3,H,W] each."""
        model = self.dataset.model
        values = model.causes[self.factor].values(8)
        return [
            self.dataset.render(model.intervene(case.batch.factors, {self.factor: v}), with_masks=False)[0]
            for v in values
        ]


@dataclass(kw_only=True)
class CausalEffect(FactorMetric):
    """The effect of one cause on the target's probability: its largest change when only that cause takes another value.

    Source: own; the controlled direct effect, which is known because the picture can be rendered again. It does not
        depend on explanations.
    Cost: one query per value of the cause, and one for the unchanged picture.
    """

    direction = None
    needs = frozenset({"classifier", "factors"})

    def score(self, case: Case) -> dict[str, Tensor]:
        images = torch.stack([case.batch.image, *self.render_values(case)], 1)
        answers = case.classifier.probability(images)  # [B,1+V,K]
        target = case.target.to(answers.device)[:, None, None].expand(-1, answers.shape[1], 1)
        answers = answers.gather(2, target)[..., 0].double()
        return {"value": (answers[:, 1:] - answers[:, :1]).abs().amax(1)}

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        return Cost(queries=1 + len(self.dataset.model.causes[self.factor].values(8)))


@dataclass(kw_only=True)
class FactorMass(FactorMetric):
    """Share of an attribution's absolute mass on the pixels that one cause determines.

    Source: own; relevance mass (Arras et al. 2022) on a causal mask: the pixels that change when only the cause
        changes. In pictures without a mark these are the pixels that a mark would cover. A map of independent values
        scores the mask's share of the area. An attribution that is zero everywhere, or not finite, gives NaN.
    """

    direction = "higher"
    needs = frozenset({"explanation", "factors"})

    def score(self, case: Case) -> dict[str, Tensor]:
        mass = self.ensure_given(case.explanation.attribution, "an attribution").double().abs()
        mask = torch.stack(
            [(image.to(case.batch.image) != case.batch.image).any(1) for image in self.render_values(case)]
        ).any(0)
        share = (mass * mask).flatten(1).sum(1) / mass.flatten(1).sum(1)
        return {"value": share.where(share.isfinite(), math.nan)}


@dataclass(kw_only=True)
class FactorChange(FactorMetric):
    """How far a counterfactual moves towards the picture with only one cause changed: 0 = not at all, 1 = completely.

    Source: own; the projection of the counterfactual's change on the change that the cause would make, the largest over
        its other values. Other changes of the counterfactual do not count.
    Shapes: "value" [B]. NaN where the cause changes no pixel.
    Cost: one rendering per value of the cause.
    """

    reads = frozenset({"counterfactual"})
    direction = None
    needs = frozenset({"explanation", "factors"})

    def score(self, case: Case) -> dict[str, Tensor]:
        image = case.batch.image.double()
        counterfactual = self.ensure_given(case.explanation.counterfactual, "counterfactuals")
        change = (counterfactual.to(image) - image).flatten(1)
        shares = []
        for other in self.render_values(case):
            wanted = (other.to(image) - image).flatten(1)
            size = wanted.square().sum(1)
            shares.append(torch.where(size > 0, (change * wanted).sum(1) / size, -math.inf))
        best = torch.stack(shares).amax(0)
        return {"value": best.where(best.isfinite(), math.nan)}
