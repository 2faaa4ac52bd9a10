"""Denoising diffusion with diffusers' U-Net."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.generator.base import ImageModel
from pomelo_lab.generator.diffusion import Prediction, decode, split_output
from pomelo_lab.generator.diffusion_model import DiffusionModel, unet_class

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class DDPM(DiffusionModel, ImageModel):
    """A diffusion model of images: diffusers' UNet2DModel, trained to remove noise.

    Source: Ho et al. (2020); v-prediction Salimans & Ho (2022); cosine schedule Nichol & Dhariwal (2021). Departures:
        `unshuffle`.
    Args:
        weights: besides a file, a local diffusers folder (a pipeline with unet/ and scheduler/, its unet/, or a U-Net
            with a scheduler/ in it): network, schedule and prediction are then the folder's. A U-Net without a
            scheduler is refused: nothing in it says what it predicts.
        The others as in DiffusionModel.
    Shapes: images [M,C,H,W] in [0,1]; noise and noisy images [M,C,H,W], clean ones in [-1,1].
    Cost: one evaluation of the U-Net per image and step.
    Random: none besides the initial weights; noise is an argument.
    """

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Problems of the U-Net's arguments.

        They are not asked of a foreign network, which has its own architecture.
        """
        if not (given["weights"] and Path(given["weights"]).expanduser().is_dir()):
            yield from super().config_problems(given)

    def make_network(self) -> nn.Module:
        if self.folder is None:
            return self.unet_model()
        return unet_class().from_config(json.loads((self.unet_folder / "config.json").read_text()))

    # --- local diffusers folders ----------------------------------------------------------------------------------

    @property
    def folder(self) -> Path | None:
        """The diffusers folder that `weights` names, if it names one."""
        return Path(self.weights).expanduser() if self.weights and Path(self.weights).expanduser().is_dir() else None

    @property
    def unet_folder(self) -> Path:
        inner = self.folder / "unet"
        folder = inner if inner.is_dir() else self.folder
        if not (folder / "config.json").is_file():
            raise ValueError(
                f"generator.weights: {self.folder} is no diffusers folder: expected config.json, or "
                f"unet/config.json, in it"
            )
        return folder

    def load_weights(self) -> None:
        if self.folder is None:
            return super().load_weights()
        from pomelo_lab.weights import load

        names = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
        file = next((self.unet_folder / name for name in names if (self.unet_folder / name).is_file()), None)
        if file is None:
            raise ValueError(f"generator.weights: {self.unet_folder} holds neither {' nor '.join(names)}")
        self._check_shape()
        _ = self._scheduler  # refused before the weights are read
        load(self.network, file, self.describe(), "generator.weights")

    def digest(self) -> str:
        if self.folder is None:
            return super().digest()
        foreign = [
            {k: v for k, v in config.items() if not k.startswith("_")}
            for config in (dict(self.network.config), self._scheduler)
        ]
        return digest({"own": super().digest(), "unet": foreign[0], "scheduler": foreign[1]})

    def _check_shape(self) -> None:
        config = self.network.config
        side, channels = config["sample_size"], config["in_channels"]
        side = side if isinstance(side, int) or side is None else side[0]
        if (channels, side or self.size_px) != (self.channels, self.size_px):
            raise ValueError(
                f"generator.weights: {self.folder} makes images of {channels}x{side}x{side}, the data set has "
                f"{self.channels}x{self.size_px}x{self.size_px}: set dataset.size_px={side}"
            )

    @cached_property
    def _scheduler(self) -> dict[str, Any]:
        """The scheduler's config in the diffusers folder, or beside it for the U-Net of a pipeline; empty for our own
        weights."""
        if not self.folder:
            return {}
        in_pipeline = self.folder.name == "unet" or (self.folder.parent / "model_index.json").is_file()
        folders, name = (self.folder, self.folder.parent) if in_pipeline else (self.folder,), "scheduler_config.json"
        path = next((p for f in folders for p in (f / "scheduler" / name, f / name) if p.is_file()), None)
        if path is None:
            raise ValueError(
                f"generator.weights: {self.folder} is a U-Net without its scheduler, which says what it predicts and "
                f"for which noise: name the "
                f"folder of the whole pipeline, or save its scheduler, as "
                f"DDPMScheduler().save_pretrained('{self.folder}/scheduler') does"
            )
        try:
            config = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"generator.weights: {path} is no JSON file: {error}") from None
        stated = {
            key: config[key]
            for key in ("prediction_type", "beta_schedule", "beta_start", "beta_end", "num_train_timesteps")
            if key in config
        }
        log.info("%s: %s", path, ", ".join(f"{key}={value}" for key, value in stated.items()))
        return config

    # --- schedule -------------------------------------------------------------------------------------------------

    @cached_property
    def betas(self) -> Tensor:
        """float64 [T]."""
        if not self._scheduler:
            return super().betas
        import diffusers

        kind = getattr(diffusers, self._scheduler.get("_class_name", "DDPMScheduler"))
        return kind.from_config(self._scheduler).betas.double()

    @property
    def predicts(self) -> Prediction:
        # diffusers leaves defaults out at times
        return self._scheduler.get("prediction_type", "epsilon") if self.folder else self.prediction

    # --- network --------------------------------------------------------------------------------------------------

    @property
    def fold(self) -> int:
        return 1 if self.folder else self.unshuffle

    @property
    def data_deviation(self) -> list[float] | None:
        return None if self.folder else super().data_deviation

    def denoise(self, x: Tensor, t: Tensor | int) -> tuple[Tensor, Tensor]:
        """(x0, eps) for noisy images x [M,C,H,W] at timestep(s) t; clean images lie in [-1,1]."""
        level = self.alphas_cumprod.to(x.device)[t] if isinstance(t, Tensor) else self.alphas_cumprod[t]
        return split_output(self.output(x, t), x, level.view(-1, 1, 1, 1), self.predicts)

    def estimate(self, x: Tensor, t: int) -> tuple[Tensor, Tensor | None]:
        """(clean estimate clamped to [-1,1], share of the learned variance or None) for x [M,C,H,W] at one timestep.

        Differentiable. The share is as in `output_and_share`.
        """
        if not self.learns_variance:
            return self.denoise(x, t)[0].clamp(-1, 1), None
        output, share = self.output_and_share(x, t)
        return split_output(output, x, float(self.alphas_cumprod[t]), self.predicts)[0].clamp(-1, 1), share

    def generate(
        self, noise: Tensor, n_steps: int = 50, eta: float = 0.0, normal: Callable[[], Tensor] | None = None
    ) -> Tensor:
        """New images from noise [M,C,H,W] in n_steps of DDIM, at most T.

        Args: eta: share of DDPM's noise in each step; normal: a fresh standard normal [M,C,H,W] per call, needed when
            eta > 0.
        """
        schedule = self.respace(min(n_steps, len(self.alphas_cumprod)))
        return self.unscaled(decode(self.denoise, noise, schedule, eta, lambda _: normal()))

    def sample_grid(self, images: Tensor) -> Tensor:
        return self.sample(len(images), torch.Generator().manual_seed(0), n_steps=20)
