"""Perturbations by a diffusion model: each image is inverted once and denoised at random many times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams, RowNoise
from pomelo_lab.config.hints import Count, Fraction, Natural, Range
from pomelo_lab.cost import Cost
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import Schedule, Spacing, decode, encode, respace, solver
from pomelo_lab.sampler.base import Sampler, all_but_first
from pomelo_lab.types import Batch, Perturbations, Segments


@dataclass(kw_only=True)
class DDIMSampler(Sampler):
    """Deterministic DDIM inversion of each image, then stochastic denoising of every perturbation from there.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 2.4 ("diffusion"), Table
        3 and appendix A; Song et al. (2021), https://arxiv.org/abs/2010.02502. Departures: inversion asks for the noise
        at the timestep it goes to, as diffusers does, where the printed eq. 5 asks at the one it comes from (round trip
        of the shipped network in 50 steps, root mean square error: 0.027 against 0.049); timesteps are trailing where
        diffusers' default is leading. n_encode, fixed_point, solver, depth, spacing and clip are options beyond the
        paper.
    Args:
        generator: the diffusion model. If the config leaves it out, the job's generator is used.
        n_steps: number of denoising steps of the whole chain from noise to image (the paper's n).
        start: number of steps that are skipped at the noisy end (the paper's i, there 0). The larger, the closer are
            perturbations to the image.
        eta: share of DDPM's noise in each step. 0 reconstructs the image.
        n_encode: number of inversion steps; None = n_steps, on the same timesteps. All perturbations of an image share
            its inversion.
        fixed_point: number of fixed-point iterations per inversion step, which make the step exact. 0 is the paper's
            plain inversion.
        solver: ddim, or a few-step scheduler of diffusers (dpm++, sde-dpm++, unipc, deis), which knows neither eta nor
            clip.
        depth: share of the schedule that is inverted; 1 = to its end, None = the generator's own
            (`DiffusionModel.depth`): 1 for a linear schedule, 0.98 for a cosine one, whose end keeps nothing of the
                image.
        spacing: how the timesteps are spread over the schedule.
        clip: clamp the clean estimate while denoising.
        keep_first: perturbation 0 is the image itself.
    Shapes: images [B,C,H,W] -> uint8 [B,n,C,H,W].
    Cost: evaluations per image: n_encode * (1 + fixed_point) once, and n_steps - start per perturbation.
    Random: one normal per pixel and noisy step, per (image id, perturbation).
    """

    generator: DDPM
    n_steps: Count = 50
    start: Natural = 0
    eta: Fraction = 0.4
    n_encode: Count | None = None
    fixed_point: Natural = 0
    solver: Literal["ddim", "dpm++", "sde-dpm++", "unipc", "deis"] = "ddim"
    depth: Annotated[float, Range(above=0, high=1)] | None = 1.0
    spacing: Spacing = "trailing"
    clip: bool = False
    keep_first: bool = True

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports a start beyond the last step, and options that the solver does not have."""
        if given["start"] >= given["n_steps"]:
            yield f"start must be below n_steps={given['n_steps']}, got {given['start']}"
        if given["solver"] != "ddim" and given["start"]:
            yield f"solver={given['solver']} starts at the noisy end: set start=0, got {given['start']}"

    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        self.generator.check_images(batch.image)
        with torch.no_grad():
            noisy = self.generator.forwards(self.invert, batch.image)

        def make(image: Tensor, draws: RowNoise) -> Tensor:
            return self.generator.unscaled(self.denoise(noisy[image], draws))

        chosen = all_but_first(len(batch), n) if self.keep_first else None
        return Perturbations(
            image=self.generator.perturb(batch.image, batch.image_id, n, streams.named("ddim"), make, chosen)
        )

    def invert(self, images: Tensor) -> Tensor:
        """Images [M,C,H,W] in [0,1] by DDIM inversion -> the noisy images where denoising starts, in the network's
        scale."""
        scaled = self.generator.scaled(images)
        return encode(self.generator.denoise, scaled, self.encoding_schedule, self.fixed_point)[-1]

    def infer_noise(self, images: Tensor) -> Tensor:
        """The noise that inversion mixes into images [M,C,H,W]: the inverted image without its share of the image, in
        units of the noise's deviation."""
        alpha_bar = self.encoding_schedule.alphas_cumprod[-1]
        x, z = self.generator.scaled(images), self.invert(images)
        return (z - alpha_bar**0.5 * x) / (1 - alpha_bar) ** 0.5

    def denoise(self, x: Tensor, draws: RowNoise) -> Tensor:
        """Noisy images x [M,C,H,W] denoised to images in [-1,1]."""
        if self.solver != "ddim":
            return self.solve(x, draws)
        schedule = self.generator.respace(self.n_steps, self.spacing, self.reach).until(self.n_steps - self.start)
        return decode(self.generator.denoise, x, schedule, self.eta, lambda _: draws.normal(*x.shape[1:]), self.clip)

    def solve(self, x: Tensor, draws: RowNoise) -> Tensor:
        """Noisy images x [M,C,H,W] denoised to images in [-1,1] by a few-step scheduler of diffusers."""
        scheduler = self.scheduler
        noise = {"variance_noise": None} if self.solver.startswith("sde") else {}
        for t in scheduler.timesteps.tolist():
            noise = {name: draws.normal(*x.shape[1:]) for name in noise}
            x = scheduler.step(self.generator.output(x, t), t, x, return_dict=False, **noise)[0]
        return x

    @property
    def reach(self) -> float:
        """The share of the schedule that is inverted: `depth`, or the generator's default."""
        return self.generator.depth if self.depth is None else self.depth

    @property
    def scheduler(self) -> Any:
        """A new few-step scheduler. Schedulers remember their last steps, so each image needs its own."""
        betas = self.generator.betas
        return solver(
            self.solver, betas[: round(self.reach * len(betas))], self.n_steps, self.generator.predicts, self.spacing
        )

    @property
    def encoding_schedule(self) -> Schedule:
        """The schedule from the image to the timestep where denoising starts."""
        schedule = self.generator.respace(self.n_steps, self.spacing, self.reach)
        stop = self.n_steps - self.start
        if self.solver == "ddim" and self.n_encode is None:
            return schedule.until(stop)
        top = schedule.timesteps[stop - 1] if self.solver == "ddim" else int(self.scheduler.timesteps[0])
        n = self.n_encode or self.n_steps
        # a late start has fewer timesteps before it
        n = min(n, top + 1) if n <= len(self.generator.alphas_cumprod) else n
        return respace(self.generator.alphas_cumprod[: top + 1], n, "trailing")

    def cost(self, n: int) -> Cost:
        once = self.encoding_schedule.n_steps * (1 + self.fixed_point)
        return Cost(evaluations=once + (n - (self.keep_first and n > 0)) * (self.n_steps - self.start))
