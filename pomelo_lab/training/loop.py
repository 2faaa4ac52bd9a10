"""The training loop: Lightning's Trainer, checkpoints that survive a kill, and its chatter turned off."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pomelo_lab.training.module import Training, lightning

log = logging.getLogger(__name__)

CHECKPOINT = "last.ckpt"


def fit(module: Training, folder: Path, device: torch.device) -> Training:
    """Train to the end, from `folder`/last.ckpt where there is one; afterwards module.report holds the validation scores.

    Random: torch's global generators are put back as they were.
    Raises: FloatingPointError when the weights are no longer finite.
    """
    last = folder / CHECKPOINT
    network = module.network.requires_grad_(True).train()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), quiet():
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=[device.index or 0] if device.type == "cuda" else 1,
            max_steps=module.total_steps,
            max_epochs=-1,
            precision=module.recipe.precision,
            gradient_clip_val=module.recipe.clip_norm,
            callbacks=[Checkpoints(last, module.recipe.checkpoint_s), Epochs()],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            num_sanity_val_steps=0,
            check_val_every_n_epoch=max(1, module.epochs // 20),
            use_distributed_sampler=False,
        )
        if last.exists():
            log.info("resuming from %s", last)
        trainer.fit(module, ckpt_path=str(last) if last.exists() else None, weights_only=True)
        trainer.validate(module, verbose=False)
    network.cpu().eval().requires_grad_(False)
    if not all(bool(t.isfinite().all()) for t in network.state_dict().values()):
        raise FloatingPointError(f"training diverged, weights are not finite: lower recipe.lr={module.recipe.lr:g} or set recipe.clip_norm")
    return module


class Checkpoints(lightning.Callback):
    """Writes last.ckpt every so many seconds, all or nothing: temporary name, sync, rename."""

    def __init__(self, path: Path, every_s: float) -> None:
        self.path, self.every_s, self.saved = path, every_s, time.monotonic()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if time.monotonic() - self.saved >= self.every_s:
            self.save(trainer)

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer)

    def save(self, trainer: Any) -> None:
        temporary = self.path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        self.saved = time.monotonic()


class Epochs(lightning.Callback):
    """One line of log per epoch, for terminals without a progress bar and for log files."""

    def on_fit_start(self, *_: Any) -> None:
        self.start = time.monotonic()

    def on_validation_end(self, trainer: Any, module: Training) -> None:
        if trainer.state.fn != "fit":
            return
        per_epoch = module.training_feed.steps_per_epoch
        name, value = next(iter(module.report.items()))
        done, epochs = trainer.global_step / per_epoch, module.epochs
        loss = float(trainer.callback_metrics.get("loss", float("nan")))
        log.info("epoch %g/%d  loss %.4f  validation %s %.4f  %.0f s", done, epochs, loss, name, value, time.monotonic() - self.start)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lightning's tips and advice about loaders are not for our users; its errors are."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
