"""The Lightning module that is the base of every training."""

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


def import_lightning() -> ModuleType:
    """Imports Lightning, after making sure that torchvision can be imported.

    The import takes seconds. This file is therefore imported only when a training starts.
    """
    ensure()
    import lightning.pytorch

    return lightning.pytorch


lightning = import_lightning()


class Training(lightning.LightningModule):
    """The training of one kind of component. Subclasses write `training_batch`, `loss`, `score` and `summary`.

    The images and random numbers of a step depend only on the seed and the step. An interrupted training therefore
    resumes with the same numbers. Lightning's loaders contain only step numbers; the images come from batch sources.

    With several devices, each device processes a share of a step's images. All devices have the same weights.

    Random: `rng` and, for dropout, torch's global generators. Both are seeded at every step.
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
        """The inputs of `loss`, such as augmented images [B,C,H,W] in [0,1], labels and noise.

        The first axis of each tensor is the image.
        Random: this method draws all random numbers of the step from `rng`, on the CPU and for the whole batch. So they
            do not depend on the number of devices.
        """

    @abstractmethod
    def loss(self, given: Mapping[str, Tensor]) -> Tensor:
        """The training loss: a scalar, the mean over images.

        Args: given: the tensors of `training_batch`, for all images of a step or for one device's share of them.
        """

    @abstractmethod
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Validation values of each image [B,...], by name."""

    @abstractmethod
    def summary(self, scores: dict[str, Tensor]) -> dict[str, Any]:
        """Statistics of the validation values, as plain values for the card.

        The first value is logged after each validation.

        Args: scores: the results of `score` for all validation images.
        """

    def begin(self, given: Mapping[str, Tensor]) -> None:
        """Initialises the network from the first step's images, if it needs that. Most networks do not.

        Args: given: the tensors of `training_batch`, for all images of the first step.
        """

    def sample_grid(self, n: int) -> Tensor | None:
        """Pictures [n,C,H,W] in [0,1] that show the progress of the training. None when there are no pictures."""
        return None

    def attach(self, training: BatchSource, validation: BatchSource, seed: int) -> Training:
        """Sets the images and the seed. This is called before `fit`."""
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
        # these include the weights of a critic, but not the running average, which needs no gradients
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
        # on_train_batch_end would be too late: it runs after the callback that writes checkpoints
        if self.average is not None:
            decay = self.recipe.ema_decay(self.global_step)
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
                for kept, new in zip(self.average.buffers(), self.network.buffers(), strict=True):
                    kept.copy_(new)

    def swap_average(self) -> None:
        """Exchanges the weights with their running average, if there is one. A second call restores both."""
        if self.average is None:
            return
        for parameter, other in zip(self.network.parameters(), self.average.parameters(), strict=True):
            parameter.data, other.data = other.data, parameter.data

    def finish(self, stored: torch.dtype) -> None:
        """Replaces the weights by their running average and rounds them to the precision of the file.

        The final validation therefore uses the weights that are saved.
        """
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
