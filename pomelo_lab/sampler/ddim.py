"""Perturbation by a diffusion model: invert once, denoise at random many times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams, RowNoise
from pomelo_lab.config.hints import Count, Fraction, Natural, Range
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import Path, Spacing, decode, encode, path, solver
from pomelo_lab.sampler.base import Sampler, all_but_first
from pomelo_lab.types import Batch, Perturbations, Segments


@dataclass(kw_only=True)
class DDIMSampler(Sampler):
    """Deterministic DDIM inversion of each image, then stochastic denoising of every perturbation from there.

    Source: Ademi, Noppel & Wressnegger, POMELO, section 2.4 ("diffusion"), Table 3 and appendix A; Song et al. (2021).
        Departures: inversion asks for the noise at the timestep it goes to, as diffusers does, where the printed eq. 5
            asks at the one it comes from (round trip of
        the shipped network in 50 steps, root mean square error: 0.027 against 0.049); timesteps are trailing where
        diffusers' default is leading. n_encode, fixed_point, solver, depth, spacing and clip are options beyond the
        paper.
    Args:
        generator: the diffusion model; left out of the config it is the job's generator.
        n_steps: n, denoising steps of the whole path from noise to image.
        start: i, steps skipped at the noisy end; 0 = the paper's, larger = closer to the image.
        eta: share of DDPM's noise in each step; 0 = reconstruction.
        n_encode: inversion steps; None = n_steps, on the same timesteps. They are shared by all perturbations of an
            image.
        fixed_point: iterations per inversion step that make it exact (0 = the paper's plain inversion).
        solver: ddim, or a few-step scheduler of diffusers (dpm++, sde-dpm++, unipc, deis), which knows neither eta nor
            clip.
        depth: share of the schedule that is inverted; 1 = to its end, None = the generator's own
            (`DiffusionModel.depth`): 1 for a linear schedule, 0.98 for a cosine one, whose end keeps nothing of the
                image.
        spacing: of the timesteps.
        clip: clamp the clean estimate while denoising.
        keep_first: perturbation 0 is the image itself.
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
        """A start beyond the path, a solver asked for what it cannot do."""
        if given["start"] >= given["n_steps"]:
            yield f"start must be below n_steps={given['n_steps']}, got {given['start']}"
        if given["solver"] != "ddim" and given["start"]:
            yield f"solver={given['solver']} starts at the noisy end: set start=0, got {given['start']}"

    def perturb(self, batch: Batch, segments: Segments | None, n: int, streams: RandomStreams) -> Perturbations:
        self.generator.check_images(batch.image)
        with torch.no_grad():
            noisy = self.generator.forwards(self.inverted, batch.image)

        def make(image: Tensor, draws: RowNoise) -> Tensor:
            return self.generator.unscaled(self.denoised(noisy[image], draws))

        chosen = all_but_first(len(batch), n) if self.keep_first else None
        return Perturbations(
            image=self.generator.perturbed(batch.image, batch.image_id, n, streams, "ddim", make, chosen)
        )

    def inverted(self, images: Tensor) -> Tensor:
        """Images [M,C,H,W] in [0,1] -> where their denoising starts, in the scale of the network."""
        along = self.encoding_path
        return encode(self.generator.denoise, self.generator.scaled(images), along, along.n, self.fixed_point)[-1]

    def noise_of(self, images: Tensor) -> Tensor:
        """The noise that inversion finds in images [M,C,H,W]: what of the last place is not the image at that place's
        level."""
        level = self.encoding_path.levels[-1]
        x, z = self.generator.scaled(images), self.inverted(images)
        return (z - level**0.5 * x) / (1 - level) ** 0.5

    def denoised(self, x: Tensor, draws: RowNoise) -> Tensor:
        """Noisy images x [M,C,H,W] denoised to images in [-1,1]."""
        if self.solver != "ddim":
            return self.solved(x, draws)
        along, shape = self.generator.path(self.n_steps, self.spacing, self.reach), x.shape[1:]
        return decode(
            self.generator.denoise,
            x,
            along,
            self.n_steps - self.start,
            self.eta,
            lambda _: draws.normal(*shape),
            self.clip,
        )

    def solved(self, x: Tensor, draws: RowNoise) -> Tensor:
        """Noisy images x [M,C,H,W] denoised to images in [-1,1] by a few-step scheduler of diffusers."""
        scheduler = self.scheduler
        noise = {"variance_noise": None} if self.solver.startswith("sde") else {}
        for t in scheduler.timesteps.tolist():
            noise = {name: draws.normal(*x.shape[1:]) for name in noise}
            x = scheduler.step(self.generator.output(x, t), t, x, return_dict=False, **noise)[0]
        return x

    @property
    def reach(self) -> float:
        """`depth`, or the generator's own."""
        return self.generator.depth if self.depth is None else self.depth

    @property
    def scheduler(self) -> Any:
        """A fresh few-step scheduler: it remembers its last steps."""
        betas = self.generator.betas
        return solver(
            self.solver, betas[: round(self.reach * len(betas))], self.n_steps, self.generator.predicts, self.spacing
        )

    @property
    def encoding_path(self) -> Path:
        """The path from the image to the timestep where denoising starts."""
        along = self.generator.path(self.n_steps, self.spacing, self.reach)
        stop = self.n_steps - self.start
        if self.solver == "ddim" and self.n_encode is None:
            return Path(along.timesteps[:stop], along.levels[: stop + 1])
        top = along.timesteps[stop - 1] if self.solver == "ddim" else int(self.scheduler.timesteps[0])
        n = self.n_encode or self.n_steps
        n = min(n, top + 1) if n <= len(self.generator.levels) else n  # a late start has fewer timesteps before it
        return path(self.generator.levels[: top + 1], n, "trailing")

    def evaluations(self, n: int) -> int:
        once = self.encoding_path.n * (1 + self.fixed_point)
        return once + (n - (self.keep_first and n > 0)) * (self.n_steps - self.start)
