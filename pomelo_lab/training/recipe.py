"""Recipes: length, optimiser, schedule and augmentation of a training, which do not belong to the trained component."""

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

SHORT = ":short"  # a suffix of a recipe's name: a training of seconds, for scale=smoke
SHORT_SIZES = {"epochs": 1, "min_steps": 0, "batch_size": 32, "ema": 0.0, "n_train": 256, "n_val": 64}


@dataclass(kw_only=True)
class Recipe(Component):
    """Length, optimiser, schedule and augmentation of a training.

    Args:
        epochs: passes over the training images.
        min_steps: the smallest number of steps. A small data set gets more passes until it has as many.
        until: the training ends after this many steps, before the end of its schedule; None = at the end of the
            schedule.
        batch_size: images per step. An incomplete last batch of an epoch is left out.
        lr: peak learning rate.
        weight_decay: decoupled weight decay for adamw, an L2 penalty for adam and sgd.
        schedule: the learning rate after the warm-up: constant, or a cosine that ends at zero.
        warmup: fraction of all steps over which the learning rate rises linearly from 4 % of `lr` to `lr`.
        label_smoothing: weight of the uniform distribution (classes) or of one half (attributes) in the target.
        clip_norm: largest norm of the gradient; None = no limit.
        ema: decay per step of a running average of the weights. The average is validated and saved. 0 = no average,
            the weights themselves are validated and saved. At step s the decay is at most (1 + s) / (10 + s).
        flip: probability of a horizontal flip.
        shift_px: largest random shift in pixels. The border is repeated.
        brightness: largest random offset of all pixels, in image units.
        n_train, n_val: number of images of the training and validation split, taken from the start of a fixed random
            order; None = all.
        precision: arithmetic of the training, as Lightning names it; auto = bf16-mixed if the hardware supports it,
            else 32-true. The card names the one that was used. The weights have the same fingerprint in both cases.
        cache_gb: the images are kept in memory, in 8 bits, if they need at most this many gigabytes. Otherwise they
            are read in every epoch.
        n_workers: processes that read images; 0 = the training's own process reads them.
        checkpoint_s: seconds between checkpoints. A killed process loses at most this much work.
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
        """The precision of the training on a device: auto is replaced by the precision that the device supports."""
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if has_bfloat16(device) else "32-true"

    @classmethod
    def identity(cls, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """The node of a recipe for the fingerprint of a training. There, auto is bf16-mixed on every machine."""
        return {**node, "precision": "bf16-mixed"} if node.get("precision") == "auto" else node

    def passes(self, steps_per_epoch: int) -> int:
        """The number of passes over the training images: `epochs`, or more to reach `min_steps`."""
        return max(self.epochs, math.ceil(self.min_steps / steps_per_epoch))

    def ema_decay(self, step: int) -> float:
        """The decay of the running average at a step. It is smaller than `ema` at the first steps."""
        return min(self.ema, (1 + step) / (10 + step))

    def lr_factor(self, step: int, steps: int) -> float:
        """The learning rate of a step, as a fraction of `lr`.

        It depends only on the step. A resumed training therefore needs no stored schedule.
        """
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
        noisy: share of the images whose timestep is drawn from the noisiest timesteps only; 0 = all timesteps are
            equally likely, as in the published training.
        noisiest: the share of all timesteps that count as the noisiest, at the end of the schedule.
    """

    noisy: Fraction = 0.0
    noisiest: Annotated[float, Range(above=0, high=1)] = 0.3


@dataclass(kw_only=True)
class InpaintingRecipe(Recipe):
    """The recipe of an in-painter.

    Args:
        holes: relative frequency of each kind of hole: freeform, box, superpixel, cell (pomelo_lab.training.holes).
        hole_weight: weight of a pixel's error inside the hole. A pixel outside has the weight 1.
        adversarial: weight of the adversarial loss; 0 = no critic.
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
        """One message for each unknown kind of hole and each negative share, and one when no share is positive."""
        kinds = ("freeform", "box", "superpixel", "cell")
        for kind, share in given["holes"].items():
            if kind not in kinds:
                yield f"holes.{kind} is unknown; it takes {', '.join(kinds)}"
            if share < 0:
                yield f"holes.{kind} must be >= 0, got {share}"
        if not sum(given["holes"].values()) > 0:
            yield f"holes needs a positive share, got {dict(given['holes'])}"


def own_recipe(node: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe that a component's `recipe` argument names. A name that ends in ":short" is changed by `SHORT_SIZES`.

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
    """The precision of a recipe's node in the fingerprint of a training."""
    return Recipe.identity(recipe).get("precision")
