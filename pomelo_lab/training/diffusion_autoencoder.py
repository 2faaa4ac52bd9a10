"""Training of diffusion autoencoders."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.training.ddpm import DDPMTraining
from pomelo_lab.training.recipe import AutoencoderRecipe
from pomelo_lab.types import Batch

log = logging.getLogger(__name__)

LITTLE = 0.05  # share of the loss that the code of another image has to add for the code to matter


class DiffusionAutoencoderTraining(DDPMTraining):
    """The loss of a diffusion model that is told the code of the clean image; nothing else pushes information into the
    code.

    An AutoencoderRecipe can draw more of the noisiest timesteps, where an image shows nothing but what its code says.
    Validated with the code of another image as well: autoencoders whose U-Net ignores the code look perfect by their
    loss alone.
    """

    def condition(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.generator.encoded(images),)

    def timesteps(self, n: int, rng: torch.Generator) -> Tensor:
        t, recipe, last = super().timesteps(n, rng), self.recipe, self.generator.n_timesteps
        if not isinstance(recipe, AutoencoderRecipe) or not recipe.noisy:
            return t
        first = last - max(1, round(recipe.noisiest * last))
        noisy = torch.randint(first, last, (n,), generator=rng)
        return torch.where(torch.rand(n, generator=rng) < recipe.noisy, noisy, t)

    def score(self, batch: Batch) -> dict[str, Tensor]:
        t, noise = self.held_out(batch)
        other = self.condition(batch.image.roll(1, 0))
        return {"loss": self.error(batch.image, t, noise), "loss_other_code": self.error(batch.image, t, noise, other)}

    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        own, other = (scores[name].double().mean().item() for name in ("loss", "loss_other_code"))
        if other < (1 + LITTLE) * own:
            log.warning(
                "the code hardly matters yet: validation loss %.4f with an image's own code, %.4f with another's",
                own,
                other,
            )
        return {"loss": own, "loss_other_code": other, "n": len(scores["loss"])}
