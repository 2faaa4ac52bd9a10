"""The training loop: Lightning's Trainer without its advice, with checkpoints that survive a killed process."""

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

from pomelo_lab.cost import format_duration
from pomelo_lab.files import seal, temporary_name, write_bytes, write_text
from pomelo_lab.training.module import Training, lightning
from pomelo_lab.training.record import CHECKPOINT, LOG, log_text, read_log
from pomelo_lab.types import to_8_bits

log = logging.getLogger(__name__)

FIRST_S, EVERY_S = 8, 30  # seconds until the first line of progress, and between further lines


def fit(
    module: Training, folder: Path, device: torch.device, world: int = 1, stored: torch.dtype = torch.float32
) -> Training:
    """Trains a module to its last step and validates it.

    The training continues from `folder`/last.ckpt if this file exists. Afterwards `module.report` contains the
    validation scores.

    Args:
        world: number of processes that train together, including this process (see pomelo_lab.devices.launch).
        stored: precision in which the weights will be saved.
    Random: the state of torch's global generators is restored.
    Raises: FloatingPointError when a checkpoint would contain weights that are not finite. The previous checkpoint
        stays.
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
        except SystemExit:  # Lightning raises it on Ctrl-C
            raise KeyboardInterrupt from None
        module.finish(stored)
        trainer.validate(module, verbose=False)
    network.cpu().eval().requires_grad_(False)
    assert_finite(module, module.last_step)
    module.rows = progress.rows
    return module


def assert_finite(module: Training, step: int) -> None:
    """Refuses weights that are NaN or infinite, including those of a critic.

    Raises: FloatingPointError that names the step and the settings to change.
    """
    broken = [name for name, tensor in module.state_dict().items() if not bool(tensor.isfinite().all())]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        remedy = f"lower recipe.lr={module.recipe.lr:g} or set recipe.clip_norm"
        raise FloatingPointError(
            f"training diverged, weights are not finite at step {step} ({broken[0]}{more}): {remedy}"
        )


class Checkpoints(lightning.Callback):
    """Writes last.ckpt at regular intervals, together with its digest.

    A checkpoint is written under a temporary name, synced and renamed, so that it is never incomplete. Weights that are
    not finite are not written: they end the training.

    Args: path: the checkpoint. every_s: seconds between two checkpoints.
    """

    def __init__(self, path: Path, every_s: float) -> None:
        self.path, self.every_s, self.saved = path, every_s, time.monotonic()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        # the first process decides, so that either all processes save or none
        if trainer.strategy.broadcast(time.monotonic() - self.saved >= self.every_s):
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
    """Reports the progress of a training.

    After each validation it logs a line, adds a row to log.jsonl and writes samples/<step>.png when the training has
    pictures to show. Without a progress bar it also logs the step, the rate and the remaining time, first after a few
    seconds and then twice a minute.
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
        if self.first is None:  # the first step is slower than the others, so the rate is measured after it
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
                format_duration((module.last_step - step) / rate),
            )

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        self.first: tuple[float, int] | None = None
        if not trainer.is_global_zero:
            return
        # log.jsonl may have rows that are newer than the checkpoint
        by_step = {row["step"]: row for row in (*read_log(self.folder / LOG), *self.rows)}
        # rows after the step of the checkpoint will be written again
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


def save_sheet(images: torch.Tensor, path: Path, columns: int = 8) -> None:
    """Writes pictures [n,C,H,W] in [0,1] to a png, arranged in rows of `columns` pictures."""
    import io

    from PIL import Image

    n, channels, height, width = images.shape
    rows = -(-n // columns)
    tiles = images.new_ones(rows * columns, 3, height, width)
    tiles[:n] = images.expand(n, 3, height, width)
    sheet = tiles.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    buffer = io.BytesIO()
    Image.fromarray(to_8_bits(sheet).cpu().numpy()).save(buffer, "png")
    write_bytes(path, buffer.getvalue())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides Lightning's tips and warnings, which do not concern users of this package. Its errors are shown."""
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
