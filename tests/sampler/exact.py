"""Generators whose answers are known, for the samplers that use one: small random networks, exact denoisers of Gaussian
images, counted rows."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

import pomelo_lab.config.schema  # noqa: F401 (knows ${of_64:...})
from pomelo_lab.generator.base import Generator
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.glow import Glow
from pomelo_lab.types import Batch, Perturbations, to_8_bits
from tests.tiny import batch_of

CONF = Path(__file__).parents[2] / "conf"
MEAN, SIGMA = 0.1, 0.25  # of the pixels of Gaussian images, in [-1,1]: clamped and rounded images keep both to 1e-3


def tiny_ddpm(**changes) -> DDPM:
    """An untrained U-Net of 1x8x8 images."""
    return DDPM(
        **{
            "channels": 1,
            "size_px": 8,
            "unshuffle": 1,
            "widths": [8],
            "norm_groups": 4,
            "head_dim": 4,
            "attention": [],
            **changes,
        }
    )


def tiny_glow(**changes) -> Glow:
    """A flow of 3x8x8 images whose parameters are all moved at random."""
    generator, rng = (
        Glow(**{"channels": 3, "size_px": 8, "n_flows": 2, "n_blocks": 2, "hidden": 8, **changes}),
        torch.Generator().manual_seed(0),
    )
    for parameter in generator.network.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng))
    generator.network.freeze()
    return generator


def gaussian_ddpm(correlation: Tensor | None = None, **changes) -> DDPM:
    """The exact denoiser of images in [-1,1] with pixels N(MEAN, SIGMA^2); correlation [D,D] between them, None =
    independent."""
    generator = tiny_ddpm(**changes)

    @functools.cache
    def inverse(t: int) -> Tensor:
        alpha_bar = float(generator.alphas_cumprod[t])
        return torch.linalg.inv(
            alpha_bar * SIGMA**2 * correlation.double()
            + (1 - alpha_bar) * torch.eye(len(correlation), dtype=torch.float64)
        ).float()

    def output(x: Tensor, t: int) -> Tensor:
        alpha_bar = float(generator.alphas_cumprod[int(t)])
        off = x - math.sqrt(alpha_bar) * MEAN
        if correlation is None:
            off, drawn = (off / (alpha_bar * SIGMA**2 + 1 - alpha_bar),) * 2
        else:
            off = off.flatten(1) @ inverse(int(t))
            off, drawn = off.view_as(x), (off @ correlation).view_as(x)
        # v
        return math.sqrt(alpha_bar * (1 - alpha_bar)) * off - math.sqrt(1 - alpha_bar) * (
            MEAN + math.sqrt(alpha_bar) * SIGMA**2 * drawn
        )

    generator.output = output
    return generator


def predict_noise(x: Tensor, alpha_bar: float) -> Tensor:
    """The exact denoiser's eps for pixels x, given as linear functions (gain, offset) of the original pixel."""
    return (
        math.sqrt(1 - alpha_bar)
        * (x - math.sqrt(alpha_bar) * torch.tensor([0.0, MEAN]).to(x))
        / (alpha_bar * SIGMA**2 + 1 - alpha_bar)
    )


def decoded(alphas_cumprod: Sequence[float], eta: float, x: Tensor, variance: float = 0.0) -> tuple[Tensor, float]:
    """DDIM from the noisy end of a schedule to its clean end, in closed form.

    Pixels x are given as (gain, offset); the result is their new (gain, offset) and the variance around it.

    Song et al. (2021), eq. 12: with an exact denoiser every step is linear in the pixel.
    """
    for start, end in zip(alphas_cumprod[:0:-1], alphas_cumprod[-2::-1], strict=True):
        sigma = eta * math.sqrt((1 - end) / (1 - start) * (1 - start / end))
        eps, slope = predict_noise(x, start), math.sqrt(1 - start) / (start * SIGMA**2 + 1 - start)
        x = math.sqrt(end / start) * (x - math.sqrt(1 - start) * eps) + math.sqrt(1 - end - sigma**2) * eps
        factor = math.sqrt(end / start) * (1 - math.sqrt(1 - start) * slope) + math.sqrt(1 - end - sigma**2) * slope
        variance = factor**2 * variance + sigma**2
    return x, variance


def gaussian_batch(n: int, seed: int = 0, shape: tuple[int, ...] = (1, 8, 8)) -> Batch:
    """8-bit images of independent Gaussian pixels."""
    drawn = MEAN + SIGMA * torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
    return batch_of(stored((drawn + 1) / 2))


def stored(image: Tensor) -> Tensor:
    """An image as 8 bits keep it."""
    return Perturbations.dequantize(to_8_bits(image))


def pixels(image: Tensor) -> Tensor:
    """Images or stored images -> deviations from MEAN in [-1,1], in units of SIGMA, float64."""
    unit = image.double() / 255 if image.dtype == torch.uint8 else image.double()
    return (2 * unit - 1 - MEAN) / SIGMA


def counted(generator: Generator) -> list[int]:
    """A list that grows by the rows of every evaluation of the network, without those that only fill it up
    (FullRows)."""
    rows: list[int] = []

    def count(module, inputs):
        first = inputs[0]
        rows.append(len(first[0] if isinstance(first, (list, tuple)) else first))

    generator.network.register_forward_pre_hook(count, prepend=True)
    return rows


def apart(first: Tensor, second: Tensor) -> int:
    """The largest difference of stored images, in levels; rounding of kernels may flip one level, another draw flips
    many."""
    assert first.shape == second.shape
    return int((first.int() - second.int()).abs().max())


def node_of(name: str) -> dict[str, Any]:
    """conf/sampler/<name>.yaml at scale=smoke, without what it chooses elsewhere."""
    node = OmegaConf.load(CONF / "sampler" / f"{name}.yaml")
    node.pop("defaults")
    shared = {"scale": OmegaConf.load(CONF / "scale" / "smoke.yaml"), "dataset": {"size_px": 64}}
    whole = OmegaConf.create({**shared, "sampler": node})
    return OmegaConf.to_container(whole, resolve=True)["sampler"]
