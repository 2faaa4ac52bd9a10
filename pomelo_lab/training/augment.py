"""Augmentation of whole batches. Its random numbers are drawn on the CPU, so that every device gets the same images."""

from __future__ import annotations

import torch
from torch import Tensor

from pomelo_lab.training.recipe import Recipe


def augment(images: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    """Randomly flips, shifts and brightens images [B,C,H,W] in [0,1], each independently of the others.

    Random: four numbers per image from `rng`, whether an option is used or not.
    """
    b, _, height, width = images.shape
    draw = torch.rand(4, b, generator=rng)
    if recipe.flip > 0:
        flips = (draw[0] < recipe.flip).to(images.device)
        images = torch.where(flips[:, None, None, None], images.flip(-1), images)
    if recipe.shift_px > 0:
        down, right = ((draw[1:3] * (2 * recipe.shift_px + 1)).floor().long() - recipe.shift_px).to(images.device)
        rows = (torch.arange(height, device=images.device) + down[:, None]).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) + right[:, None]).clamp(0, width - 1)
        images = images.gather(2, rows[:, None, :, None].expand_as(images)).gather(
            3, columns[:, None, None, :].expand_as(images)
        )
    if recipe.brightness > 0:
        offset = ((2 * draw[3] - 1) * recipe.brightness).to(images.device)
        images = (images + offset[:, None, None, None]).clamp(0, 1)
    return images
