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

from pomelo_lab.files import seal, temporary_name, write_bytes, write_text
from pomelo_lab.training.module import Training, lightning
from pomelo_lab.training.record import CHECKPOINT, LOG, log_text, read_log
from pomelo_lab.types import Perturbations

log = logging.getLogger(__name__)

FIRST_S, EVERY_S = 8, 30  # lines of progress


def fit(
    module: Training, folder: Path, device: torch.device, world: int = 1, stored: torch.dtype = torch.float32
) -> Training:
    """Train to the end, from `folder`/last.ckpt where there is one; afterwards module.report holds the validation
    scores.

    Args:
        world: processes that train together, this being one of them (see pomelo_lab.devices.launch).
        stored: precision in which the weights will be kept.
    Random: torch's global generators are put back as they were.
    Raises: FloatingPointError as soon as a checkpoint would hold weights that are not finite; the one before stays.
    """
    last = folder / CHECKPOINT
    network = module.network.requires_grad_(True).train()
    devices = [device] if device.type == "cuda" else []
    progress = Progress(folder)
    with torch.random.fork_rng(devices=devices), quiet():
        trainer = lightning.Trainer(
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=world if world > 1 else [device.index or 0] if device.type == "cuda" else 1,
            strategy="ddp" if world > 1 else "auto",
            sync_batchnorm=world > 1 and device.type == "cuda",
            max_steps=module.last_step,
            max_epochs=-1,
            precision=module.recipe.arithmetic(device),
            gradient_clip_val=module.recipe.clip_norm,
            callbacks=[Checkpoints(last, module.recipe.checkpoint_s), progress],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty() and int(os.environ.get("LOCAL_RANK", 0)) == 0,
            num_sanity_val_steps=0,
            check_val_every_n_epoch=max(1, module.epochs // 20),
            use_distributed_sampler=False,
        )
        if last.exists():
            log.info("resuming from %s", last)
        try:
            trainer.fit(module, ckpt_path=str(last) if last.exists() else None, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        module.finish(stored)
        trainer.validate(module, verbose=False)
    network.cpu().eval().requires_grad_(False)
    assert_finite(module, module.last_step)
    module.rows = progress.rows
    return module


def assert_finite(module: Training, step: int) -> None:
    """Raises FloatingPointError naming the step and what to change when weights (a critic's too) are NaN or
    infinite."""
    broken = [name for name, tensor in module.state_dict().items() if not bool(tensor.isfinite().all())]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        remedy = f"lower recipe.lr={module.recipe.lr:g} or set recipe.clip_norm"
        raise FloatingPointError(
            f"training diverged, weights are not finite at step {step} ({broken[0]}{more}): {remedy}"
        )


class Checkpoints(lightning.Callback):
    """Writes last.ckpt every so many seconds, all or nothing and with its digest: temporary name, sync, rename. Weights
    that are not finite end the training instead."""

    def __init__(self, path: Path, every_s: float) -> None:
        self.path, self.every_s, self.saved = path, every_s, time.monotonic()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.strategy.broadcast(time.monotonic() - self.saved >= self.every_s):  # all processes, or none
            self.save(trainer)

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        self.save(trainer)

    def save(self, trainer: Any) -> None:
        assert_finite(trainer.lightning_module, trainer.global_step)
        temporary = temporary_name(self.path)
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            seal(temporary, self.path.parent.name)
            os.replace(temporary, self.path)
        self.saved = time.monotonic()


class Progress(lightning.Callback):
    """After each validation: a line of log, a row of log.jsonl and, where there is something to see,
    samples/<step>.png.

    Where there is no progress bar also a line with steps, rate and time left: after a few seconds, then twice a minute.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_fit_start(self, trainer: Any, *_: Any) -> None:
        self.start = time.monotonic()

    def on_train_batch_end(self, trainer: Any, module: Training, *_: Any) -> None:
        now, step = time.monotonic(), trainer.global_step
        if not trainer.is_global_zero or trainer.progress_bar_callback is not None:
            return
        if self.first is None:  # a first step takes longer than the others
            self.first, self.said = (now, step), now - EVERY_S + FIRST_S
        if now - self.said >= EVERY_S and step > self.first[1] and step < module.last_step:
            self.said = now
            rate = (step - self.first[1]) / (now - self.first[0])
            pace = f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s per step"
            log.info(
                "step %d of %d, %s, about %s left",
                step,
                module.last_step,
                pace,
                spoken((module.last_step - step) / rate),
            )

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        self.first: tuple[float, int] | None = None
        if not trainer.is_global_zero:
            return
        # the checkpoint may be older than the row of its step
        by_step = {row["step"]: row for row in (*read_log(self.folder / LOG), *self.rows)}
        # later ones will be written again
        self.rows = [by_step[step] for step in sorted(by_step) if step <= trainer.global_step]
        write_text(self.folder / LOG, log_text(self.rows))

    def on_validation_end(self, trainer: Any, module: Training) -> None:
        if trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        name, value = next(iter(module.report.items()))
        step, seconds = trainer.global_step, time.monotonic() - self.start
        loss = float(trainer.callback_metrics.get("loss", float("nan")))
        epoch = step / module.training_source.steps_per_epoch
        log.info("epoch %g/%d  loss %.4f  validation %s %.4f  %.0f s", epoch, module.epochs, loss, name, value, seconds)
        self.rows.append({"step": step, "loss": loss, f"val_{name}": value, "seconds": round(seconds, 1)})
        write_text(self.folder / LOG, log_text(self.rows))
        with torch.no_grad():
            images = module.sample_grid(16)
        if images is not None:
            save_sheet(images, self.folder / "samples" / f"{step:07d}.png")


def spoken(seconds: float) -> str:
    """A duration in words."""
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )


def save_sheet(images: torch.Tensor, path: Path, columns: int = 8) -> None:
    """Pictures [n,C,H,W] in [0,1] side by side, as a png."""
    import io

    from PIL import Image

    n, channels, height, width = images.shape
    rows = -(-n // columns)
    tiles = images.new_ones(rows * columns, 3, height, width)
    tiles[:n] = images.expand(n, 3, height, width)
    sheet = tiles.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    buffer = io.BytesIO()
    Image.fromarray(Perturbations.quantize(sheet).cpu().numpy()).save(buffer, "png")
    write_bytes(path, buffer.getvalue())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lightning's tips and advice about loaders are not for our users; its errors are."""
    names = (
        "lightning.pytorch",
        "lightning.fabric",
        "lightning.pytorch.utilities.rank_zero",
        "lightning.fabric.utilities.rank_zero",
    )
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
