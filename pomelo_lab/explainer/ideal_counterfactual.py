"""The upper limit of a counterfactual: the same person, rendered with a single cause changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.cost import Cost
from pomelo_lab.dataset.portraits import HAIR, Portraits
from pomelo_lab.dataset.portraits_causes import ATTRIBUTES, CLASS_ATTRIBUTES, HAIR_COLORS
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.counterfactual import CounterfactualExplainer, SearchResult


@dataclass(kw_only=True)
class IdealCounterfactualExplainer(CounterfactualExplainer):
    """Renders the face again with its label's cause at the goal and all other causes unchanged.

    Source: ours; possible for portraits only. A continuous cause is mirrored at the edge between its states, so that a
        broad smile becomes a serious mouth and a slight smile a soft one. Of several states that the goal allows, the
        first is used.
    Args: dataset: portraits. If the config leaves it out, the job's data set is used.
    Cost: one rendering and one query per image.
    """

    access: ClassVar[str] = "black_box"
    needs = frozenset({"factors"})

    dataset: Portraits

    def search(self, case: Case, goal: Tensor) -> SearchResult:
        batch = case.batch
        image, _ = self.dataset.render(
            self.change_label({name: value.cpu() for name, value in batch.factors.items()}, goal.cpu()),
            with_masks=False,
        )
        image = image.to(batch.image)
        answer = case.classifier.probability(image)
        flipped = (answer.argmax(1) == goal).float()
        return SearchResult(image, flipped, answer.gather(1, goal[:, None])[:, 0], torch.ones_like(flipped))

    def change_label(self, factors: dict[str, Tensor], goal: Tensor) -> dict[str, Tensor]:
        """The causes of the same people with the label's cause at the goal [B]."""
        out, model = dict(factors), self.dataset.model
        if self.dataset.label == HAIR:
            for k, name in enumerate(HAIR_COLORS):
                wanted = ATTRIBUTES[CLASS_ATTRIBUTES[name]]["hair_color"][0]
                out[HAIR] = torch.where(goal == k, model.causes[HAIR].states.index(wanted), out[HAIR])
            return out
        for name, allowed in ATTRIBUTES[self.dataset.label].items():
            cause, state = model.causes[name], model.state(name, factors)
            holds = torch.tensor([value in allowed for value in cause.states])
            turn = holds[state] != (goal == 1)
            if cause.continuous:
                edge = next(cause.edges[i + 1] for i in range(len(holds) - 1) if holds[i] != holds[i + 1])
                low, high = cause.edges[0], cause.edges[-1]
                share = torch.where(
                    factors[name] < edge, (edge - factors[name]) / (edge - low), (factors[name] - edge) / (high - edge)
                )
                other = torch.where(factors[name] < edge, edge + share * (high - edge), edge - share * (edge - low))
                other = torch.where(factors[name] < edge, other.clamp_min(edge), other.clamp_max(edge - 1e-4))
            else:
                other = torch.where(goal == 1, int(holds.int().argmax()), int((~holds).int().argmax())).to(
                    factors[name].dtype
                )
            out[name] = torch.where(turn, other, factors[name])
        return out

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(queries=2)
