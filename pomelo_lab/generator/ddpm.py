"""Denoising diffusion with diffusers' U-Net."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as File
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.classifier.torchvision_ops import ensure
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.config.hints import Count, Fraction, Local
from pomelo_lab.generator.base import ImageModel
from pomelo_lab.generator.diffusion import Path, Prediction, Spacing, betas, decode, path, split

if TYPE_CHECKING:
    from pomelo_lab.training.module import Training
    from pomelo_lab.training.recipe import Recipe


@dataclass(kw_only=True)
class DDPM(ImageModel):
    """A diffusion model of images: diffusers' UNet2DModel, trained to remove noise.

    Source: Ho et al. (2020); v-prediction Salimans & Ho (2022); cosine schedule Nichol & Dhariwal (2021). Departures: `unshuffle` folds blocks of
        pixels into channels in front of the network and unfolds them behind it, so that 64x64 images cost a network of 32x32.
    Args:
        unshuffle: side of those blocks; 1 = none.
        widths: channels of the levels, halving the resolution from one to the next.
        layers_per_block: residual blocks per level.
        attention: levels with self-attention, 0 = the finest.
        head_dim: channels per attention head; None = one head.
        norm_groups: of the group norms; divides every width.
        dropout: in the residual blocks.
        unet: other arguments of diffusers' UNet2DModel, which take precedence.
        n_timesteps: T.
        schedule: linear (betas scaled to T) or cosine.
        prediction: what the network predicts.
        weights: besides a file, a local diffusers folder (a U-Net with its config.json, or a pipeline with unet/ and scheduler/): network, schedule
            and prediction are then the folder's.
    Shapes: images [M,C,H,W] in [0,1] at the public boundary, `scaled` to [-1,1] inside.
    Cost: one evaluation per image and step.
    """

    unshuffle: Count = 2
    widths: list[int] = field(default_factory=lambda: [32, 64, 96])
    layers_per_block: Count = 1
    attention: list[int] = field(default_factory=lambda: [2])
    head_dim: Count | None = 16
    norm_groups: Count = 16
    dropout: Fraction = 0.0
    unet: dict[str, Any] = field(default_factory=dict)
    n_timesteps: Count = 1000
    schedule: Literal["linear", "cosine"] = "cosine"
    prediction: Prediction = "v_prediction"

    recipe: Annotated[str, Local()] = "ddpm_small"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Widths that the group norms do not divide, attention on levels that do not exist, sides that do not halve."""
        if given["weights"] and File(given["weights"]).expanduser().is_dir():
            return  # a foreign network has an architecture of its own
        widths, groups = given["widths"], given["norm_groups"]
        for width in widths:
            if width % groups:
                yield f"widths must be multiples of norm_groups={groups}, got {width}"
        for level in given["attention"]:
            if not 0 <= level < len(widths):
                yield f"attention names levels 0..{len(widths) - 1}, got {level}"
        head = given["head_dim"] or 1
        for level in {*(a for a in given["attention"] if 0 <= a < len(widths)), len(widths) - 1}:  # the middle always attends
            if head > widths[level]:
                yield f"head_dim must be <= {widths[level]}, the width of level {level}, got {head}"
        side, fold = given["size_px"], given["unshuffle"] * 2 ** (len(widths) - 1)
        if side and side % fold:
            yield f"size_px must be a multiple of {fold} (unshuffle and {len(widths)} levels), got {side}"

    def make_network(self) -> nn.Module:
        ensure()
        from diffusers import UNet2DModel

        if self.folder is not None:
            return UNet2DModel.from_config(json.loads((self.unet_folder / "config.json").read_text()))
        n, channels = len(self.widths), self.channels * self.unshuffle**2
        arguments = {
            "sample_size": self.size_px // self.unshuffle,
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": tuple(self.widths),
            "layers_per_block": self.layers_per_block,
            "down_block_types": tuple("AttnDownBlock2D" if i in self.attention else "DownBlock2D" for i in range(n)),
            "up_block_types": tuple("AttnUpBlock2D" if i in self.attention else "UpBlock2D" for i in reversed(range(n))),
            "attention_head_dim": self.head_dim,
            "norm_num_groups": self.norm_groups,
            "dropout": self.dropout,
        }
        return UNet2DModel(**(arguments | self.unet))

    def cast(self) -> None:
        nn.Module.to(self.network, self.dtype)  # diffusers' own `to` warns of parts to keep in float32, of which there are none

    # --- local diffusers folders ----------------------------------------------------------------------------------

    @property
    def folder(self) -> File | None:
        """The diffusers folder that `weights` names, if it names one."""
        return File(self.weights).expanduser() if self.weights and File(self.weights).expanduser().is_dir() else None

    @property
    def unet_folder(self) -> File:
        inner = self.folder / "unet"
        found = inner if inner.is_dir() else self.folder
        if not (found / "config.json").is_file():
            raise ValueError(f"generator.weights: {self.folder} is no diffusers folder: expected config.json, or unet/config.json, in it")
        return found

    def load_weights(self) -> None:
        if self.folder is None:
            return super().load_weights()
        from pomelo_lab.weights import load

        names = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
        file = next((self.unet_folder / name for name in names if (self.unet_folder / name).is_file()), None)
        if file is None:
            raise ValueError(f"generator.weights: {self.unet_folder} holds neither {' nor '.join(names)}")
        self._check_shape()
        load(self.network, file, self.described(), "generator.weights")

    def digest(self) -> str:
        if self.folder is None:
            return super().digest()
        foreign = [{k: v for k, v in config.items() if not k.startswith("_")} for config in (dict(self.network.config), self._scheduler)]
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
        """The folder's scheduler config; empty without one."""
        place = self.folder / "scheduler" / "scheduler_config.json" if self.folder else None
        return json.loads(place.read_text()) if place and place.is_file() else {}

    # --- schedule -------------------------------------------------------------------------------------------------

    @cached_property
    def betas(self) -> Tensor:
        """float64 [T]."""
        if not self._scheduler:
            return betas(self.schedule, self.n_timesteps)
        import diffusers

        kind = getattr(diffusers, self._scheduler.get("_class_name", "DDPMScheduler"))
        return kind.from_config(self._scheduler).betas.double()

    @cached_property
    def levels(self) -> Tensor:
        """alpha-bar of every timestep, float64 [T]."""
        return (1 - self.betas).cumprod(0)

    @property
    def predicts(self) -> Prediction:
        return self._scheduler.get("prediction_type", self.prediction)

    def path(self, n_steps: int, spacing: Spacing = "trailing", depth: float = 1.0) -> Path:
        """A respaced chain of n_steps over the first share `depth` of the timesteps."""
        return path(self.levels[: max(1, round(depth * len(self.levels)))], n_steps, spacing)

    # --- network --------------------------------------------------------------------------------------------------

    @staticmethod
    def scaled(images: Tensor) -> Tensor:
        """[0,1] -> [-1,1]."""
        return images * 2 - 1

    @staticmethod
    def unscaled(x: Tensor) -> Tensor:
        """[-1,1] -> [0,1], clamped."""
        return ((x + 1) / 2).clamp(0, 1)

    def output(self, x: Tensor, t: Tensor | int) -> Tensor:
        """What the network predicts for x [M,C,H,W] at timestep(s) t."""
        fold = 1 if self.folder else self.unshuffle
        t = torch.as_tensor(t, device=x.device).expand(len(x))
        found = self.applied(F.pixel_unshuffle(x, fold) if fold > 1 else x, t)
        found = found[:, : x.shape[1] * fold**2]  # learned variances of a foreign network are left out
        return F.pixel_shuffle(found, fold) if fold > 1 else found

    def denoise(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """(x0, eps) for x [M,C,H,W] in [-1,1] plus noise, at one timestep."""
        return split(self.output(x, t), x, float(self.levels[t]), self.predicts)

    evaluations_per_image = 50

    def generate(self, noise: Tensor, n_steps: int = evaluations_per_image) -> Tensor:
        """New images by deterministic DDIM from noise [M,C,H,W]."""
        return self.unscaled(decode(self.denoise, noise, self.path(min(n_steps, len(self.levels)))))

    def training_module(self, recipe: Recipe, dataset: Any) -> Training:
        from pomelo_lab.generator.ddpm_training import DDPMTraining

        return DDPMTraining(self, recipe)
