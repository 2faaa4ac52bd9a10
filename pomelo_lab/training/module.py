"""The Lightning module that every training shares."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.torchvision_ops import ensure
from pomelo_lab.training.feed import Feed
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.types import Batch, Perturbations


def imported_lightning() -> ModuleType:
    """Lightning, which takes seconds to import and fails where torchvision is broken; this file is imported when a training starts."""
    ensure()
    import lightning.pytorch

    return lightning.pytorch


lightning = imported_lightning()


class Training(lightning.LightningModule):
    """How one kind of component learns: subclasses write `loss`, `score` and `summary`.

    Images and random numbers of a step follow from (seed, step), never from what ran before, so an interrupted training resumes with the
    same numbers. Lightning's loaders hold step numbers only; the images come from the feeds.

    Random: `rng` and torch's global generators, seeded anew for every step.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.report: dict[str, Any] = {}
        self._scores: list[dict[str, Tensor]] = []

    @abstractmethod
    def loss(self, batch: Batch, rng: torch.Generator) -> Tensor:
        """Scalar training loss of images [B,C,H,W] in [0,1]."""

    @abstractmethod
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Per-image validation values [B,...]."""

    @abstractmethod
    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        """Plain values for the card, from the values of all validation images; the first one is shown after each epoch."""

    def fed(self, training: Feed, validation: Feed, seed: int) -> Training:
        """Set the images and the seed; called by the loop before the fit."""
        self.training_feed, self.validation_feed, self.seed = training, validation, seed
        self.epochs = self.recipe.passes(training.steps_per_epoch)
        self.total_steps = self.epochs * training.steps_per_epoch
        return self

    # --- what Lightning calls -------------------------------------------------------------------------------------

    def train_dataloader(self) -> range:
        return range(self.training_feed.steps_per_epoch)

    def val_dataloader(self) -> range:
        return range(self.validation_feed.steps_per_epoch)

    def configure_optimizers(self) -> dict[str, Any]:
        recipe, weights = self.recipe, [p for p in self.network.parameters() if p.requires_grad]
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        extra = {"momentum": 0.9, "nesterov": True} if recipe.optimizer == "sgd" else {}
        optimizer = kinds[recipe.optimizer](weights, lr=recipe.lr, weight_decay=recipe.weight_decay, **extra)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.lr_factor(step, self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, _: Any, __: int) -> Tensor:
        step = self.global_step
        rng = Streams(self.seed).generator("", f"training step {step}")
        torch.manual_seed(rng.initial_seed())
        loss = self.loss(self._given(self.training_feed, step), rng)
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, _: Any, index: int) -> None:
        self._scores.append({name: value.detach().cpu() for name, value in self.score(self._given(self.validation_feed, index)).items()})

    def on_validation_epoch_end(self) -> None:
        scores = {name: torch.cat([part[name] for part in self._scores]) for name in self._scores[0]}
        self._scores = []
        self.report = self.summary(scores)
        name, value = next(iter(self.report.items()))
        self.log(f"val_{name}", value, prog_bar=True)

    def _given(self, feed: Feed, step: int) -> Batch:
        batch = feed.batch(step).to(self.device)
        return replace(batch, image=Perturbations.dequantize(batch.image))
