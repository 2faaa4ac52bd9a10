"""Whether an independent network finds images unambiguous."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pomelo_lab.classifier.base import NetworkClassifier, view
from pomelo_lab.config.hints import Count
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.types import Perturbations


@dataclass(kw_only=True)
class DefiniteAttribute(Metric):
    """Share of perturbed images in which an oracle sees exactly one of several attributes that exclude each other, such
    as the hair colours.

    Source: own; the oracle is an attribute network with independent outputs, and an attribute is seen above probability
        0.5.
    Args:
        dataset: the data set of the job, which names the oracle's outputs.
        oracle: attribute network; not the explained classifier.
        attributes: names, of which exactly one should be seen.
        n_per_image: number of perturbations of each image; perturbation 0 is left out.
    """

    direction = "higher"
    needs = frozenset({"perturbations", "attributes"})

    dataset: Dataset
    oracle: NetworkClassifier
    attributes: list[str] = field(
        default_factory=lambda: ["Blond_Hair", "Black_Hair", "Gray_Hair", "Brown_Hair", "Bald"]
    )
    n_per_image: Count = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := [name for name in self.attributes if name not in self.dataset.attribute_names]:
            raise ValueError(
                f"metric attributes: {', '.join(unknown)} unknown to the data set, it has "
                f"{', '.join(self.dataset.attribute_names)}"
            )

    def score(self, case: Case) -> dict[str, Tensor]:
        images = Perturbations.dequantize(case.perturbations.scored.image[:, : self.n_per_image])
        answers: Any = view(self.oracle, "black_box", 256, images.device).probability(images)
        columns = [self.dataset.attribute_names.index(name) for name in self.attributes]
        return {"value": ((answers[..., columns] > 0.5).sum(-1) == 1).double().mean(1)}
