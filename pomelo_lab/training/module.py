"""The Lightning module that every training shares."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.compat import ensure
from pomelo_lab.training.batch_source import BatchSource
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.types import Batch, Perturbations


def imported_lightning() -> ModuleType:
    """Lightning, which takes seconds to import and fails where torchvision is broken; this file is imported when a
    training starts."""
    ensure()
    import lightning.pytorch

    return lightning.pytorch


lightning = imported_lightning()


class Training(lightning.LightningModule):
    """How one kind of component learns: subclasses write `training_batch`, `loss`, `score` and `summary`.

    Images and random numbers of a step follow from (seed, step), never from what ran before, so an interrupted training
    resumes with the same numbers. Lightning's loaders hold step numbers only; the images come from the batch sources.

    On several devices each learns from its share of a step's images, and all hold the same weights.

    Random: `rng` and, for dropout, torch's global generators, seeded anew for every step.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.average = copy.deepcopy(network).requires_grad_(False).eval() if recipe.ema else None
        self.report: dict[str, Any] = {}
        self._scores: list[dict[str, Tensor]] = []

    @abstractmethod
    def training_batch(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """The tensors that `loss` reads, each with the image axis first: augmented images [B,C,H,W] in [0,1], labels,
        noise.

        Random: all that a step draws is drawn here, from `rng` on the CPU, for the whole batch, whichever share a
            device then takes.
        """

    @abstractmethod
    def loss(self, given: Mapping[str, Tensor]) -> Tensor:
        """Scalar training loss, a mean over images, of what `training_batch` returned or of a share of it."""

    @abstractmethod
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Per-image validation values [B,...]."""

    @abstractmethod
    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        """Plain values for the card, from the values of all validation images; the first one is shown after each
        epoch."""

    def begin(self, given: Mapping[str, Tensor]) -> None:
        """Set what depends on data before the first step, from all images of it; nothing for most."""

    def sample_grid(self, n: int) -> Tensor | None:
        """n pictures [n,C,H,W] in [0,1] to look at while it trains; None = nothing to see."""
        return None

    def attach(self, training: BatchSource, validation: BatchSource, seed: int) -> Training:
        """Set the images and the seed; called by the loop before the fit."""
        self.training_source, self.validation_source, self.seed = training, validation, seed
        self.epochs = self.recipe.passes(training.steps_per_epoch)
        self.total_steps = self.epochs * training.steps_per_epoch
        self.last_step = min(self.total_steps, self.recipe.until or self.total_steps)
        return self

    # --- what Lightning calls -------------------------------------------------------------------------------------

    def train_dataloader(self) -> range:
        return range(self.training_source.steps_per_epoch)

    def val_dataloader(self) -> range:
        return range(self.validation_source.steps_per_epoch)

    def configure_optimizers(self) -> dict[str, Any]:
        # a critic's too; the average has no gradients
        recipe, weights = self.recipe, [p for p in self.parameters() if p.requires_grad]
        kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
        extra = {"momentum": 0.9, "nesterov": True} if recipe.optimizer == "sgd" else {}
        optimizer = kinds[recipe.optimizer](weights, lr=recipe.lr, weight_decay=recipe.weight_decay, **extra)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: recipe.lr_factor(step, self.total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        if self.global_step == 0:
            with torch.no_grad():
                self.begin(self._training_batch(0))
            if self.average is not None:
                self.average.load_state_dict(self.network.state_dict())

    def training_step(self, _: Any, __: int) -> Tensor:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        loss = self.loss({name: tensor[rank::world] for name, tensor in self._training_batch(self.global_step).items()})
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def optimizer_step(self, *given: Any, **named: Any) -> None:
        super().optimizer_step(*given, **named)
        if self.average is not None:  # here, since on_train_batch_end comes after the callback that writes checkpoints
            decay = self.recipe.ema_decay(self.global_step)
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
                for kept, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                    kept.copy_(new)

    def swap_average(self) -> None:
        """Exchange the weights with their running average, where there is one; twice = as before."""
        if self.average is None:
            return
        for parameter, other in zip(self.network.parameters(), self.average.parameters(), strict=True):
            parameter.data, other.data = other.data, parameter.data

    def finish(self, stored: torch.dtype) -> None:
        """Make the running average the weights at the end, rounded as they will be stored, so that what is validated is
        what is kept."""
        if self.average is not None:
            self.network.load_state_dict(self.average.state_dict())
            self.average = None
        with torch.no_grad():
            for tensor in self.network.parameters():
                tensor.copy_(tensor.to(stored))

    def on_validation_start(self) -> None:
        self.swap_average()

    def on_validation_end(self) -> None:
        self.swap_average()

    def validation_step(self, _: Any, index: int) -> None:
        scores = self.score(self._unit_images(self.validation_source, index))
        self._scores.append({name: value.detach().cpu() for name, value in scores.items()})

    def on_validation_epoch_end(self) -> None:
        scores = {name: torch.cat([part[name] for part in self._scores]) for name in self._scores[0]}
        self._scores = []
        self.report = self.summary(scores)
        name, value = next(iter(self.report.items()))
        self.log(f"val_{name}", value, prog_bar=True)

    def _training_batch(self, step: int) -> dict[str, Tensor]:
        rng = RandomStreams(self.seed).generator("", f"training step {step}")
        torch.manual_seed(rng.initial_seed())
        return self.training_batch(self._unit_images(self.training_source, step), rng)

    def _unit_images(self, source: BatchSource, step: int) -> Batch:
        batch = source.batch(step).to(self.device)
        return replace(batch, image=Perturbations.dequantize(batch.image))
