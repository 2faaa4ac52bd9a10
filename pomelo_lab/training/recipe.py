"""How long, with what, how fast: the part of a training that is no property of the component."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from pomelo_lab.config.entry import CONF, file_content
from pomelo_lab.config.hints import (
    Count,
    Fraction,
    Natural,
    NonNegative,
    NotFingerprinted,
    OmitDefault,
    Positive,
    Range,
)
from pomelo_lab.config.signature import Component, defaults, did_you_mean, locate
from pomelo_lab.devices import has_bfloat16

SHORT = ":short"  # behind the name of a recipe: shortened to seconds, for scale=smoke
SHORT_SIZES = {"epochs": 1, "min_steps": 0, "batch_size": 32, "ema": 0.0, "n_train": 256, "n_val": 64}


@dataclass(kw_only=True)
class Recipe(Component):
    """Length, optimiser, schedule and augmentation of a training.

    Args:
        epochs: passes over the training images.
        min_steps: more passes if there are fewer steps than this, for small data sets.
        until: steps after which training ends, though the schedule goes on; None = with the schedule.
        batch_size: images per step; an incomplete last batch of an epoch is left out.
        lr: peak learning rate.
        weight_decay: decoupled for adamw, L2 for the others.
        schedule: constant, or cosine to zero at the end.
        warmup: first fraction of all steps, over which the rate rises from 4 % of `lr`.
        label_smoothing: towards the uniform distribution (classes) or one half (attributes).
        clip_norm: largest norm of the gradient; None = no limit.
        ema: decay per step of a running average of the weights, which is what is validated and kept; 0 = the weights
            themselves. The first steps average over a tenth of the steps so far.
        flip: probability of a horizontal flip.
        shift_px: random shift by up to that many pixels, the border repeated.
        brightness: random offset of all pixels by up to that much, image units.
        n_train, n_val: images of the training and validation split, the first of a fixed random order; None = all.
        precision: of the arithmetic, Lightning's name for it; auto = bf16-mixed where the hardware has the
            instructions, else 32-true. What it came to is written on the card; weights are the same weights on all
            machines.
        cache_gb: the images are held in memory as 8 bits if they fit into this, else read again every epoch.
        n_workers: processes that read images.
        checkpoint_s: seconds between checkpoints, the most work that a kill loses.
    """

    epochs: Count = 8
    min_steps: Natural = 600
    batch_size: Count = 128
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Positive = 2e-3
    weight_decay: NonNegative = 0.01
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Fraction = 0.2
    label_smoothing: Fraction = 0.0
    clip_norm: Positive | None = None
    ema: Annotated[float, Range(low=0, below=1)] = 0.0
    flip: Fraction = 0.0
    shift_px: Natural = 2
    brightness: Fraction = 0.05
    n_train: Count | None = None
    n_val: Count | None = 2000
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "32-true"
    until: Annotated[Count | None, OmitDefault()] = None
    cache_gb: Annotated[float, Range(low=0), NotFingerprinted()] = 4.0
    n_workers: Annotated[int, Range(low=0), NotFingerprinted()] = 0
    checkpoint_s: Annotated[float, Range(low=0), NotFingerprinted()] = 30.0

    def arithmetic(self, device: torch.device) -> str:
        """The precision on a device."""
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if has_bfloat16(device) else "32-true"

    @classmethod
    def identity(cls, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """A recipe's node as it enters the fingerprint of a training: auto is what it is at best, on every machine."""
        return {**node, "precision": "bf16-mixed"} if node.get("precision") == "auto" else node

    def passes(self, steps_per_epoch: int) -> int:
        """Passes over the training images that the recipe comes to."""
        return max(self.epochs, math.ceil(self.min_steps / steps_per_epoch))

    def ema_decay(self, step: int) -> float:
        """Weight of the old average after a step."""
        return min(self.ema, (1 + step) / (10 + step))

    def lr_factor(self, step: int, steps: int) -> float:
        """Learning rate of a step as a fraction of `lr`; a pure function, so that a resumed training needs no memory of
        it."""
        rise = self.warmup * steps
        if step < rise:
            return 0.04 + 0.96 * step / rise
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise))))


@dataclass(kw_only=True)
class AutoencoderRecipe(Recipe):
    """The recipe of a diffusion autoencoder.

    Args:
        noisy: share of the images whose timestep is drawn among the noisiest only; 0 = all timesteps alike, the
            original.
        noisiest: those timesteps, as a share of the schedule's end.
    """

    noisy: Fraction = 0.0
    noisiest: Annotated[float, Range(above=0, high=1)] = 0.3


@dataclass(kw_only=True)
class InpaintingRecipe(Recipe):
    """The recipe of an in-painter.

    Args:
        holes: relative shares of the kinds of holes: freeform, box, superpixel, cell (pomelo_lab.training.holes).
        hole_weight: of the error inside the hole against the error outside.
        adversarial: weight of the critic's verdict; 0 = no critic.
        critic_width: channels of the critic's first layer.
    """

    holes: dict[str, float] = field(
        default_factory=lambda: {"freeform": 1.0, "box": 1.0, "superpixel": 1.0, "cell": 1.0}
    )
    hole_weight: Positive = 4.0
    adversarial: NonNegative = 0.05
    critic_width: Count = 24

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Kinds of holes that do not exist, shares that are negative or all zero."""
        kinds = ("freeform", "box", "superpixel", "cell")
        for kind, share in given["holes"].items():
            if kind not in kinds:
                yield f"holes.{kind} is unknown; it takes {', '.join(kinds)}"
            if share < 0:
                yield f"holes.{kind} must be >= 0, got {share}"
        if not sum(given["holes"].values()) > 0:
            yield f"holes needs a positive share, got {dict(given['holes'])}"


def own_recipe(node: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe that a component names as its own, with `SHORT_SIZES` where its name ends in ":short".

    Raises: ValueError when conf/recipe has no such file.
    """
    name, _, short = (node.get("recipe") or defaults(locate(node["_target_"]))["recipe"]).partition(":")
    content = file_content(f"recipe/{name}")
    if content is None:
        folder = Path(CONF, "recipe")
        close = did_you_mean(name, [path.stem for path in folder.glob("*.yaml")])
        raise ValueError(f"recipe {name!r} does not exist in {folder}{close}")
    return {**content, **(SHORT_SIZES if short else {})}


def precision_of(recipe: Mapping[str, Any]) -> str | None:
    """The arithmetic of a recipe's node as it enters the fingerprint of a training."""
    return Recipe.identity(recipe).get("precision")
