"""Many portraits of each of some people, to train and test identity networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count
from pomelo_lab.dataset.causal_model import uniforms
from pomelo_lab.dataset.portraits import Portraits

PEOPLE = "people"  # the stream of who they are, common to all splits


@dataclass(kw_only=True)
class PortraitsIdentities(Portraits):
    """Portraits whose label is the person. Image i shows person i mod n_people. The person keeps the causes of the
    group `person` (sex, age, skin, the shapes of the face). Hair, clothes, expression, pose and scene are redrawn for
    every image, given the person.

    Source: ours. All splits have the same people in different images.
    Args:
        n_people: number of people.
        The other arguments are those of Portraits.
    """

    n_people: Count = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        self.class_names = tuple(f"person {i}" for i in range(self.n_people))

    @classmethod
    def classes(cls, given: dict) -> tuple[str, ...]:
        return tuple(f"person {i}" for i in range(given.get("n_people", 500)))

    def factors(self, indices: Sequence[int]) -> dict[str, Tensor]:
        index = torch.as_tensor(list(indices), dtype=torch.long)
        noise = super().factors(indices)["noise"]
        who = uniforms(self.seed, PEOPLE, index % self.n_people, self.model.causes)
        personal = torch.tensor([cause.group == "person" for cause in self.model.causes.values()])
        return self.model.draw(torch.where(personal, who, noise)) | {"person": index % self.n_people}

    def compute_labels(self, factors: dict[str, Tensor]) -> Tensor:
        return factors["person"]

    def digest(self) -> str:
        return f"{super().digest()}-people{self.n_people}"
