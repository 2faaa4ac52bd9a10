"""Training of in-painters: reconstruction and a critic that is trained at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.generator.inpainter import Inpainter
from pomelo_lab.generator.inpainter_network import Critic
from pomelo_lab.training.augment import augment
from pomelo_lab.training.holes import holes
from pomelo_lab.training.module import Training
from pomelo_lab.training.recipe import InpaintingRecipe, Recipe
from pomelo_lab.types import Batch


class InpainterTraining(Training):
    """Trains an in-painter by the L1 error of both stages and the hinge loss of a critic.

    Source: Yu et al. (2019), section 3.3. Departures: network and critic are updated together from one backward pass,
    instead of alternately. The critic's loss gives the network no gradient, and the network's loss gives the critic
    none.
    """

    def __init__(self, generator: Inpainter, recipe: Recipe, dataset: Dataset | None = None) -> None:
        if not isinstance(recipe, InpaintingRecipe):
            raise ValueError(
                f"recipe must be an InpaintingRecipe for generator=inpainter (recipe=inpainter_small), "
                f"got {type(recipe).__name__}"
            )
        super().__init__(generator.network, recipe)
        self.generator = generator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.init_seed)
            self.critic = Critic(generator.channels, recipe.critic_width) if recipe.adversarial else None
        self.shown: Tensor | None = None

    def training_batch(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        images = augment(batch.image, self.recipe, rng)
        return {"images": images, "hole": holes(images, self.recipe.holes, rng)}

    def loss(self, given: Mapping[str, Tensor]) -> Tensor:
        x, hole = given["images"] * 2 - 1, given["hole"][:, None].to(given["images"])
        coarse, fine = (output.float() for output in self.network.stages(x, hole))
        weight = torch.where(hole > 0, self.recipe.hole_weight, 1.0)
        total = sum((weight * (output - x).abs()).mean() for output in (coarse, fine))
        if self.critic is None:
            return total
        filled = torch.where(hole > 0, fine, x)
        with torch.autocast(x.device.type, enabled=False):
            self.critic.requires_grad_(False)
            fooled = -self.critic(filled, hole).mean()
            self.critic.requires_grad_(True)
            real, fake = self.critic(torch.cat([x, filled.detach()]), torch.cat([hole, hole])).chunk(2)
        return total + self.recipe.adversarial * fooled + F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def score(self, batch: Batch) -> dict[str, Tensor]:
        rng = RandomStreams(0).generator(batch.image_id[0], "validation holes")
        hole = holes(batch.image, self.recipe.holes, rng)
        filled = self.generator.inpaint(batch.image, 1 - hole.float())
        if self.shown is None or len(self.shown) != 2 * len(filled):
            clean = batch.image.where(~hole[:, None], 0.5)
            self.shown = torch.stack([clean, batch.image.where(~hole[:, None], filled)], 1).flatten(0, 1)
        away = (filled - batch.image).abs().mean(1).masked_fill(~hole, 0)
        return {"l1": away.flatten(1).sum(1) / hole.flatten(1).sum(1)}

    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        return {"l1_in_holes": scores["l1"].double().mean().item(), "n": len(scores["l1"])}

    def sample_grid(self, n: int) -> Tensor | None:
        """Pairs of pictures: an image with a gray hole, and the same image with the hole filled."""
        shown, self.shown = self.shown, None
        return None if shown is None else shown[:n]
