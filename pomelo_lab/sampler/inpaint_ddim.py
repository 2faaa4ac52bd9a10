"""Removed segments filled by a diffusion model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams, RowNoise
from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, Range
from pomelo_lab.cost import Cost
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import Spacing, encode, inpaint, noised, plan_resampling
from pomelo_lab.sampler.base import Filler, Filling
from pomelo_lab.types import Perturbations, Segments, to_8_bits


@dataclass(kw_only=True)
class InpaintDDIMSampler(Filler):
    """Fills removed pixels by denoising from noise. Every step merges with the equally noisy original.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 2.4 ("in-painting"),
        Fig. 3 and Table 3; Lugmayr et al. (2022), https://arxiv.org/abs/2201.09865 for resampling. Departures: none;
        the paper does not state the deviation of the mask's blur, and its recursion index is read as the previous,
        noisier step.
    Args:
        generator: the diffusion model. If the config leaves it out, the job's generator is used.
        rate: share of segments dropped (the paper: 0.75).
        n_steps: number of denoising steps.
        eta: share of DDPM's noise in each step.
        known: noisy original by deterministic inversion ("inverted", the paper) or by adding noise ("q_sample",
            RePaint). The inversion reads the whole image, so a fill depends on removed pixels too. With q_sample it
            depends on kept pixels only.
        sigma_px: standard deviation of the Gaussian that blurs the mask. Its soft edges mix original and fill; 0 = hard
            edges.
        jump_length, n_resample: length and number of RePaint's resampling rounds; n_resample=1 resamples nothing.
        fixed_point: number of fixed-point iterations per inversion step.
        depth: share of the schedule that is used, see DDIMSampler.
        spacing: how the timesteps are spread over the schedule.
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W], on the 8-bit grid.
    Cost: evaluations: n_steps * (1 + fixed_point) per image ("inverted"), and n_steps * about n_resample per fill;
        masks that keep all cost none.
    Random: normals per (image id, index of the mask in the call).
    """

    context = "mask"

    generator: DDPM
    rate: Fraction = 0.75
    n_steps: Count = 50
    eta: Fraction = 0.8
    known: Literal["inverted", "q_sample"] = "inverted"
    sigma_px: NonNegative = 1.0
    jump_length: Count = 1
    n_resample: Count = 1
    fixed_point: Natural = 0
    depth: Annotated[float, Range(above=0, high=1)] | None = 1.0
    spacing: Spacing = "trailing"

    def filling(
        self, image: Tensor, streams: RandomStreams, image_ids: tuple[str, ...], segments: Segments | None = None
    ) -> Filling:
        self.generator.check_images(image)
        schedule, shape = self.generator.respace(self.n_steps, self.spacing, self.reach), image.shape[1:]
        # the noisy originals at every step; an image is inverted when a mask first removes something of it
        noisy = image.new_zeros(schedule.n_steps + 1, *image.shape)
        inverted = torch.zeros(len(image), dtype=torch.bool, device=image.device)

        def replacement(row: Tensor, keep: Tensor, index: Tensor) -> Tensor:
            filled, keep = to_8_bits(image)[row], keep.detach()
            removes = (keep < 1).flatten(1).any(1).nonzero()[:, 0]
            if not len(removes):
                return Perturbations.dequantize(filled)
            filled_row, soft = row[removes], self.blurred(keep[removes][:, None])
            new = filled_row.unique()
            new = new[~inverted[new]]
            if self.known == "inverted" and len(new):
                noisy[:, new], inverted[new] = self.invert(image[new]), True

            def make(rows: slice, draws: RowNoise) -> Tensor:
                def restore(x: Tensor, k: int) -> Tensor:
                    if self.known == "inverted":
                        known = noisy[k, filled_row[rows]]
                    else:
                        known = self.generator.scaled(image[filled_row[rows]])
                        known = noised(known, schedule.alphas_cumprod[k], draws.normal(*shape)) if k else known
                    return torch.lerp(x, known, soft[rows])

                normal = partial(draws.normal, *shape)
                x = inpaint(self.generator.denoise, schedule, self.steps, restore, normal, self.eta)
                return self.generator.unscaled(x)

            filled[removes] = self.generator.make_versions(
                image_ids, filled_row, index[removes], streams.named("inpaint"), make
            )
            return Perturbations.dequantize(filled)

        return Filling(image, replacement, merges=True)

    @property
    def reach(self) -> float:
        """The share of the schedule that is used: `depth`, or the generator's default."""
        return self.generator.depth if self.depth is None else self.depth

    @property
    def steps(self) -> list[int]:
        """The steps that denoising visits, resampling included."""
        return plan_resampling(self.n_steps, self.jump_length, self.n_resample)

    @torch.no_grad()
    def invert(self, images: Tensor) -> Tensor:
        """Noisy originals of all steps by DDIM inversion: [B,C,H,W] -> [n_steps+1,B,C,H,W]."""
        schedule = self.generator.respace(self.n_steps, self.spacing, self.reach)

        def stacked(part: Tensor) -> Tensor:
            return torch.stack(
                encode(self.generator.denoise, self.generator.scaled(part), schedule, self.fixed_point), 1
            )

        return self.generator.forwards(stacked, images).transpose(0, 1)

    def blurred(self, keep: Tensor) -> Tensor:
        """Keep masks [M,1,H,W] with soft edges. A mask that keeps everything is unchanged."""
        if self.sigma_px == 0:
            return keep
        kernel = self.kernel.to(keep)
        reach = len(kernel) // 2
        removed = F.pad(1 - keep, (reach,) * 4, mode="replicate")
        return 1 - F.conv2d(F.conv2d(removed, kernel[None, None, None]), kernel[None, None, :, None])

    @cached_property
    def kernel(self) -> Tensor:
        reach = max(1, round(4 * self.sigma_px))
        offset = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weight = torch.exp(-0.5 * (offset / self.sigma_px) ** 2)
        return weight / weight.sum()

    def fill_cost(self, n: int) -> Cost:
        once = self.n_steps * (1 + self.fixed_point) if self.known == "inverted" and n else 0
        down = sum(after < before for before, after in itertools.pairwise(self.steps))
        return Cost(evaluations=once + n * down)
