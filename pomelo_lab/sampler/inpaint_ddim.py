"""Removed segments filled by a diffusion model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams, RowNoise
from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, Range
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import Spacing, encode, inpaint, noised, resampled_places
from pomelo_lab.sampler.base import Filler, Filling
from pomelo_lab.types import Perturbations, Segments


@dataclass(kw_only=True)
class InpaintDDIMSampler(Filler):
    """In-painting: denoise from noise, and merge with the equally noisy original at every step.

    Source: POMELO, section 2.4 ("in-painting"), Fig. 3 and Table 3; Lugmayr et al. (2022) for resampling. Departures:
        none; the paper does not state the deviation of the mask's blur, and its recursion index is read as the
        previous, noisier step.
    Args:
        generator: the diffusion model; left out of the config it is the job's generator.
        rate: share of segments dropped (the paper: 0.75).
        n_steps: denoising steps.
        eta: share of DDPM's noise in each step.
        known: noisy original by deterministic inversion ("inverted", the paper) or by adding noise ("q_sample",
            RePaint). The inversion looks at the whole image: a fill then depends on what was removed, with q_sample
            only on what was kept.
        sigma_px: of the Gaussian blur of the mask, whose soft edges mix original and fill; 0 = hard edges.
        jump_length, n_resample: RePaint's resampling; n_resample 1 = none.
        fixed_point: iterations per inversion step.
        depth: share of the schedule that is used, see DDIMSampler.
        spacing: of the timesteps.
    Shapes: fill: image [B,C,H,W], keep [B,N,H,W] -> [B,N,C,H,W], on the 8-bit grid.
    Cost: evaluations: n_steps * (1 + fixed_point) per image ("inverted"), and n_steps * about n_resample per fill;
        masks that keep all cost none.
    Random: normals per (image id, place of the mask in the call).
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
        along, shape = self.generator.path(self.n_steps, self.spacing, self.reach), image.shape[1:]
        # the noisy originals, inverted when a mask first removes something
        places = image.new_zeros(along.n + 1, *image.shape)
        inverted = torch.zeros(len(image), dtype=torch.bool, device=image.device)

        def replacement(row: Tensor, keep: Tensor, place: Tensor) -> Tensor:
            filled, keep = Perturbations.quantize(image)[row], keep.detach()
            removes = (keep < 1).flatten(1).any(1).nonzero()[:, 0]
            if not len(removes):
                return Perturbations.dequantize(filled)
            asked, soft = row[removes], self.blurred(keep[removes][:, None])
            new = asked.unique()
            new = new[~inverted[new]]
            if self.known == "inverted" and len(new):
                places[:, new], inverted[new] = self.noisy(image[new]), True

            def make(rows: slice, draws: RowNoise) -> Tensor:
                def known(k: int) -> Tensor:
                    if self.known == "inverted":
                        return places[k, asked[rows]]
                    clean = self.generator.scaled(image[asked[rows]])
                    return noised(clean, along.levels[k], draws.normal(*shape)) if k else clean

                start = draws.normal(*shape)
                jumps = (self.jump_length, self.n_resample)
                made = inpaint(
                    self.generator.denoise,
                    start,
                    along,
                    known,
                    soft[rows],
                    self.eta,
                    lambda: draws.normal(*shape),
                    *jumps,
                )
                return self.generator.unscaled(made)

            filled[removes] = self.generator.versions(image_ids, asked, place[removes], streams, "inpaint", make)
            return Perturbations.dequantize(filled)

        return Filling(image, replacement, merges=True)

    @property
    def reach(self) -> float:
        """`depth`, or the generator's own."""
        return self.generator.depth if self.depth is None else self.depth

    @torch.no_grad()
    def noisy(self, images: Tensor) -> Tensor:
        """The originals at every place of the path, by inversion: [n_steps+1,B,C,H,W]."""
        along = self.generator.path(self.n_steps, self.spacing, self.reach)

        def inverted(part: Tensor) -> Tensor:
            return torch.stack(
                encode(self.generator.denoise, self.generator.scaled(part), along, fixed_point=self.fixed_point), 1
            )

        return self.generator.forwards(inverted, images).transpose(0, 1)

    def blurred(self, keep: Tensor) -> Tensor:
        """Soft edges: [M,1,H,W] -> the same; what is kept everywhere stays exactly so."""
        if self.sigma_px == 0:
            return keep
        kernel = self.kernel.to(keep)
        reach = len(kernel) // 2
        gone = F.pad(1 - keep, (reach,) * 4, mode="replicate")
        return 1 - F.conv2d(F.conv2d(gone, kernel[None, None, None]), kernel[None, None, :, None])

    @cached_property
    def kernel(self) -> Tensor:
        reach = max(1, round(4 * self.sigma_px))
        offset = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weight = torch.exp(-0.5 * (offset / self.sigma_px) ** 2)
        return weight / weight.sum()

    def fill_evaluations(self, n: int) -> int:
        once = self.n_steps * (1 + self.fixed_point) if self.known == "inverted" and n else 0
        places = resampled_places(self.n_steps, self.jump_length, self.n_resample)
        down = sum(after < before for before, after in zip(places, places[1:], strict=False))
        return once + n * down
