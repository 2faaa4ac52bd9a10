"""The arithmetic of diffusion, apart from any network: noise schedules, DDIM in both directions, the posterior,
RePaint, few-step solvers.

Images here lie in [-1,1]. `alpha_bar` is the cumulative product of 1 - beta: 1 for a clean image, 0 for pure noise. A
`Denoiser` maps noisy images and a timestep to an estimate of the clean image and an estimate of the noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # noisy x [M,C,H,W], timestep -> (x0, eps)
Noise = Callable[[int], Tensor]  # step of a schedule -> standard normal [M,C,H,W]
Prediction = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["trailing", "leading", "linspace"]


def betas(schedule: Literal["linear", "cosine"], n_timesteps: int) -> Tensor:
    """float64 [T]: linear from 1e-4 to 0.02 times 1000/T (Ho et al. 2020), or cosine (Nichol & Dhariwal 2021, eq.
    17)."""
    if schedule == "linear":
        scale = 1000 / n_timesteps  # the last alpha-bar is then near 0 for every T; diffusers leaves this to its users
        return torch.linspace(1e-4 * scale, min(0.02 * scale, 0.999), n_timesteps, dtype=torch.float64)
    edges = torch.arange(n_timesteps + 1, dtype=torch.float64) / n_timesteps
    alpha_bar = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


@dataclass(frozen=True)
class Schedule:
    """A respaced chain from clean images (step 0) to noise (step n_steps). Step k is timestep `timesteps[k-1]`.

    alphas_cumprod: alpha-bar of steps 0..n_steps; the first is 1.
    """

    timesteps: tuple[int, ...]
    alphas_cumprod: tuple[float, ...]

    @property
    def n_steps(self) -> int:
        return len(self.timesteps)

    def until(self, step: int) -> Schedule:
        """The part of the chain from clean images to a step."""
        return Schedule(self.timesteps[:step], self.alphas_cumprod[: step + 1])


def respace(alphas_cumprod: Tensor, n_steps: int, spacing: Spacing = "trailing") -> Schedule:
    """Choose n_steps of the T timesteps whose alpha-bar is given, [T].

    trailing ends at T-1 and suits schedules that end in pure noise; leading starts at 0 and never reaches T-1; linspace
    has both ends.
    Raises: ValueError when n_steps is not in 1..T.
    """
    total = len(alphas_cumprod)
    if not 1 <= n_steps <= total:
        raise ValueError(f"n_steps must be in 1..{total}, the timesteps of the chain, got {n_steps}")
    if spacing == "trailing":
        timesteps = [round(total * k / n_steps) - 1 for k in range(1, n_steps + 1)]
    elif spacing == "leading":
        timesteps = [k * (total // n_steps) for k in range(n_steps)]
    else:
        timesteps = [round(k * (total - 1) / max(1, n_steps - 1)) for k in range(n_steps)]
    return Schedule(tuple(timesteps), (1.0, *alphas_cumprod[timesteps].tolist()))


def noised(x0: Tensor, alpha_bar: float, noise: Tensor) -> Tensor:
    """A sample of q(x_t | x_0): sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise."""
    return math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * noise


def split_output(output: Tensor, x: Tensor, alpha_bar: Tensor | float, prediction: Prediction) -> tuple[Tensor, Tensor]:
    """(x0, eps): what the output of a network for noisy images x says about the clean image and about the noise."""
    # in float32, 1 - alpha_bar would lose four digits at the clean end
    alpha_bar = torch.as_tensor(alpha_bar, dtype=torch.float64)
    signal, sigma = alpha_bar.sqrt().to(x), (1 - alpha_bar).sqrt().to(x)
    if prediction == "epsilon":
        return (x - sigma * output) / signal, output
    if prediction == "v_prediction":
        return signal * x - sigma * output, sigma * x + signal * output
    return output, (x - signal * output) / sigma


def ddim_sigma(start: float, end: float, eta: float) -> float:
    """Deviation of the noise that a DDIM step adds (Song et al. 2021, eq. 16).

    Args: start, end: alpha-bar before and after the step, start < end.
    """
    if start >= end:
        raise ValueError(f"a denoising step goes to a higher level, got {start} -> {end}")
    return eta * math.sqrt((1 - end) / (1 - start)) * math.sqrt(1 - start / end)


def ddim_step(
    x0: Tensor, eps: Tensor, start: float, end: float, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """One DDIM step (Song et al. 2021, eq. 12) from alpha-bar `start` to `end`."""
    sigma = ddim_sigma(start, end, eta) if eta else 0.0
    out = math.sqrt(end) * x0 + math.sqrt(max(0.0, 1 - end - sigma**2)) * eps
    return out.add_(noise, alpha=sigma) if sigma else out


def decode(
    denoise: Denoiser, x: Tensor, schedule: Schedule, eta: float = 0.0, noise: Noise | None = None, clip: bool = False
) -> Tensor:
    """Denoise images x from the noisy end of a schedule to its clean end.

    Args:
        eta: 0 = deterministic; 1 over all T timesteps = DDPM's ancestral sampling.
        noise: standard normal for the step that leaves step k; needed when eta > 0.
        clip: clamp the clean estimate to [-1,1] at every step and derive eps from it. The result is then no longer the
            inverse of `encode`.
    Cost: one network evaluation per step.
    """
    alphas_cumprod = schedule.alphas_cumprod
    for k in range(schedule.n_steps, 0, -1):
        x0, eps = denoise(x, schedule.timesteps[k - 1])
        if clip:
            x0 = x0.clamp(-1, 1)
            eps = (x - math.sqrt(alphas_cumprod[k]) * x0) / math.sqrt(1 - alphas_cumprod[k])
        adds = eta > 0 and alphas_cumprod[k - 1] < 1
        x = ddim_step(x0, eps, alphas_cumprod[k], alphas_cumprod[k - 1], eta, noise(k) if adds else None)
    return x


def encode(denoise: Denoiser, x0: Tensor, schedule: Schedule, fixed_point: int = 0) -> list[Tensor]:
    """Images of all steps of a schedule by deterministic DDIM inversion: x[k] decodes to x[k-1].

    The network is asked at x[k-1] with the timestep of x[k], as diffusers' DDIMInverseScheduler does. For
    epsilon-prediction both are equal; other predictions are split at that timestep's alpha-bar here. Each fixed-point
    iteration asks again at the last estimate of x[k]. The iterations converge to the exact inverse of `decode`.

    Cost: (1 + fixed_point) evaluations per step.
    """
    images = [x0]
    for k in range(1, schedule.n_steps + 1):
        before, (end, start) = images[-1], schedule.alphas_cumprod[k - 1 : k + 1]
        x = before
        for _ in range(1 + fixed_point):
            _, eps = denoise(x, schedule.timesteps[k - 1])
            x = math.sqrt(start / end) * (before - math.sqrt(1 - end) * eps) + math.sqrt(1 - start) * eps
        images.append(x)
    return images


def encode_as_published(denoise: Denoiser, x0: Tensor, schedule: Schedule) -> Tensor:
    """Invert images to noise [M,C,H,W] as the code of the diffusion autoencoder does, on a schedule with leading
    spacing.

    The network is asked at x[k] with the timestep that x[k] is taken to have; the clean image takes the first timestep.
    The clean estimate is clamped to [-1,1] and eps is derived from it. The last step goes to pure noise. The result is
    not the inverse of `decode`; that of `encode` is.

    Cost: one evaluation per step.
    """
    x = x0
    for k in range(1, schedule.n_steps + 1):
        start, end = (*schedule.alphas_cumprod, 0.0)[k : k + 2]
        clean = denoise(x, schedule.timesteps[k - 1])[0].clamp(-1, 1)
        eps = (x - math.sqrt(start) * clean) / math.sqrt(1 - start)
        x = math.sqrt(end) * clean + math.sqrt(1 - end) * eps
    return x


def posterior(x: Tensor, x0: Tensor, start: float, end: float) -> tuple[Tensor, float]:
    """Mean and variance of the DDPM posterior q(x_end | x_start, x0) (Ho et al. 2020, eq. 7).

    Args: start, end: alpha-bar of the noisier and of the cleaner image.
    """
    beta = 1 - start / end
    mean = (math.sqrt(end) * beta * x0 + math.sqrt(start / end) * (1 - end) * x) / (1 - start)
    return mean, beta * (1 - end) / (1 - start)


def inpaint(
    denoise: Denoiser,
    schedule: Schedule,
    steps: Sequence[int],
    restore: Callable[[Tensor, int], Tensor],
    normal: Callable[[], Tensor],
    eta: float,
) -> Tensor:
    """Fill what a mask removed: denoise from noise, and put the known pixels back at every step (POMELO, Fig. 3;
    RePaint).

    Args:
        steps: the steps visited, from n_steps to 0, see `plan_resampling`.
        restore: (x, step k) -> x with the known pixels, noised to step k, put back.
        normal: a fresh standard normal [M,C,H,W] per call; denoising starts at the first.
    Cost: one evaluation per step down: n_steps + (n_resample - 1) * about n_steps for any jump_length.
    """
    alphas_cumprod = schedule.alphas_cumprod
    x = restore(normal(), schedule.n_steps)
    for before, after in itertools.pairwise(steps):
        if after > before:  # back towards noise
            ratio = alphas_cumprod[after] / alphas_cumprod[before]
            x = math.sqrt(ratio) * x + math.sqrt(1 - ratio) * normal()
            continue
        x0, eps = denoise(x, schedule.timesteps[before - 1])
        adds = eta > 0 and alphas_cumprod[after] < 1
        x = ddim_step(x0, eps, alphas_cumprod[before], alphas_cumprod[after], eta, normal() if adds else None)
        x = restore(x, after)
    return x


def plan_resampling(n_steps: int, jump_length: int = 1, n_resample: int = 1) -> list[int]:
    """The steps that RePaint visits, from n_steps to 0, neighbours one apart.

    Source: Lugmayr et al. (2022), algorithm 1 and appendix. Departures: none.
    Args: jump_length, n_resample: every jump_length steps the chain goes that many back towards noise and denoises
        again, n_resample - 1 times; 1 = none.
    """
    # the clean image is not noised again
    jumps_left = {step: n_resample - 1 for step in range(1, n_steps - jump_length + 1, jump_length)}
    visited, step = [n_steps], n_steps
    while step > 0:
        step -= 1
        visited.append(step)
        if jumps_left.get(step, 0) > 0:
            jumps_left[step] -= 1
            for _ in range(jump_length):
                step += 1
                visited.append(step)
    return visited


SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "sde-dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "deis": ("DEISMultistepScheduler", {"solver_order": 2}),
}


def solver(
    name: str, beta: Tensor, n_steps: int, prediction: Prediction = "epsilon", spacing: Spacing = "trailing"
) -> Any:
    """A fresh few-step scheduler of diffusers with n_steps timesteps. It keeps state: make one per batch of images."""
    import diffusers

    kind, extra = SOLVERS[name]
    scheduler = getattr(diffusers, kind)(
        num_train_timesteps=len(beta),
        trained_betas=beta.float().numpy(),
        prediction_type=prediction,
        timestep_spacing=spacing,
        **extra,
    )
    scheduler.set_timesteps(n_steps)
    return scheduler
