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

LITTLE = 0.05  # the code matters when the code of another image increases the loss by at least this share


class DiffusionAutoencoderTraining(DDPMTraining):
    """Trains a diffusion autoencoder by the loss of a diffusion model that is conditioned on the clean image's code.

    This loss alone makes the code informative. An AutoencoderRecipe can draw the noisiest timesteps more often. At
    these timesteps the noisy image reveals almost nothing, so that the network must read the code.

    Validation also measures the loss with the codes of other images. An autoencoder whose U-Net ignores the code can
    have a low loss, but then the codes of other images do not increase it.
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
        t, noise = self.draw_held_out(batch)
        other = self.condition(batch.image.roll(1, 0))
        return {"loss": self.error(batch.image, t, noise), "loss_other_code": self.error(batch.image, t, noise, other)}

    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        loss, loss_other_code = (scores[name].double().mean().item() for name in ("loss", "loss_other_code"))
        if loss_other_code < (1 + LITTLE) * loss:
            log.warning(
                "the code hardly matters yet: validation loss %.4f with an image's own code, %.4f with another's",
                loss,
                loss_other_code,
            )
        return {"loss": loss, "loss_other_code": loss_other_code, "n": len(scores["loss"])}
