"""The base class of explainers that move an image's semantic code and render it with the noise of the original
image."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, Natural
from pomelo_lab.explainer.counterfactual import CounterfactualExplainer
from pomelo_lab.generator.diffusion_autoencoder import DiffusionAutoencoder
from pomelo_lab.types import Perturbations


@dataclass(kw_only=True)
class LatentExplainer(CounterfactualExplainer, ABC):
    """Encodes an image into a code and noise, and renders other codes with the same noise.

    Source: Preechakul et al. (2022), https://arxiv.org/abs/2111.15640, diffusion autoencoders, as Sobieski & Biecek
        (GCD) use them. Departures: renders are stored in 8 bits.
    Args:
        generator: the autoencoder. If the config leaves it out, the job's generator is used.
        n_invert, fixed_point, n_render: steps of the inversion, its fixed-point iterations, steps of a render.
        published_grid: invert and render as the published code does (n_invert 250, n_render 100). Its round trip is
            only approximate.
    Cost: n_invert * (1 + fixed_point) evaluations per encoded image (published_grid: n_invert), n_render per render.
    """

    generator: DiffusionAutoencoder
    n_invert: Count = 250
    fixed_point: Natural = 0
    n_render: Count = 100
    published_grid: bool = False

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports steps of inversion and rendering that do not invert each other."""
        if not given["published_grid"] and given["n_invert"] != given["n_render"]:
            yield (
                f"n_render must be n_invert={given['n_invert']} unless published_grid=true: else nothing is "
                f"inverted, got {given['n_render']}"
            )

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes images in [0,1]: (codes [B,D], noise [B,C,H,W])."""

        def part(start: int, stop: int) -> tuple[Tensor, Tensor]:
            code = self.generator.encoded(images[start:stop])
            return code, self.generator.infer_noise(
                images[start:stop], code, self.n_invert, self.fixed_point, self.published_grid
            )

        return self.generator.forwards.rows(part, len(images))

    @torch.no_grad()
    def render(self, code: Tensor, noise: Tensor, shift: Tensor) -> Tensor:
        """Renders displaced codes in 8 bits: code [B,D], noise [B,C,H,W], shift [B,A,D] -> uint8 [B,A,C,H,W]; or
        those of one image, shift [A,D] -> [A,C,H,W]."""
        flat = shift.reshape(-1, shift.shape[-1]).to(code)
        each = len(flat) // len(code)

        def part(start: int, stop: int) -> Tensor:
            rows = torch.arange(start, stop, device=code.device) // each
            return Perturbations.quantize(
                self.generator.render(code[rows] + flat[start:stop], noise[rows], self.n_render, self.published_grid)
            )

        return self.generator.forwards.rows(part, len(flat)).reshape(*shift.shape[:-1], *noise.shape[1:])

    @property
    def inversion(self) -> int:
        """Number of evaluations that compute the noise of an image."""
        return self.n_invert * (1 if self.published_grid else 1 + self.fixed_point)
