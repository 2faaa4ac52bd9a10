"""The arithmetic of diffusion, apart from any network: schedules, respaced paths, DDIM both ways, posterior, few-step
solvers.

Images here lie in [-1,1]. A *level* is the cumulative product alpha-bar: 1 = clean, 0 = noise. A `Denoiser` is what a
trained network gives: from noisy images and a timestep, an estimate of the clean image and of the noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # noisy x [M,C,H,W], timestep -> (x0, eps)
Noise = Callable[[int], Tensor]  # step of a path -> standard normal [M,C,H,W]
Prediction = Literal["epsilon", "v_prediction", "sample"]
Spacing = Literal["trailing", "leading", "linspace"]


def betas(schedule: Literal["linear", "cosine"], n_timesteps: int) -> Tensor:
    """float64 [T]: linear from 1e-4 to 0.02 times 1000/T (Ho et al. 2020), or cosine (Nichol & Dhariwal 2021, eq.
    17)."""
    if schedule == "linear":
        scale = 1000 / n_timesteps  # so that the last level is near 0 for every T; diffusers leaves this to its users
        return torch.linspace(1e-4 * scale, min(0.02 * scale, 0.999), n_timesteps, dtype=torch.float64)
    edges = torch.arange(n_timesteps + 1, dtype=torch.float64) / n_timesteps
    level = torch.cos((edges + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - level[1:] / level[:-1]).clamp(max=0.999)


@dataclass(frozen=True)
class Path:
    """A respaced chain from clean images (place 0) to noise (place n); place k is timestep `timesteps[k-1]`.

    levels: alpha-bar of places 0..n, levels[0] = 1.
    """

    timesteps: tuple[int, ...]
    levels: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.timesteps)


def path(level: Tensor, n: int, spacing: Spacing = "trailing") -> Path:
    """n of the T timesteps, for levels [T].

    trailing ends at T-1 and suits schedules that end in pure noise; leading starts at 0 and never reaches T-1; linspace
    has both ends.
    Raises: ValueError when n is not in 1..T.
    """
    total = len(level)
    if not 1 <= n <= total:
        raise ValueError(f"n_steps must be in 1..{total}, the timesteps of the chain, got {n}")
    if spacing == "trailing":
        chosen = [round(total * k / n) - 1 for k in range(1, n + 1)]
    elif spacing == "leading":
        chosen = [k * (total // n) for k in range(n)]
    else:
        chosen = [round(k * (total - 1) / max(1, n - 1)) for k in range(n)]
    return Path(tuple(chosen), (1.0, *level[chosen].tolist()))


def noised(x0: Tensor, level: float, noise: Tensor) -> Tensor:
    """q(x_t | x_0): sqrt(level) x0 + sqrt(1 - level) noise."""
    return math.sqrt(level) * x0 + math.sqrt(1 - level) * noise


def split(output: Tensor, x: Tensor, level: Tensor | float, prediction: Prediction) -> tuple[Tensor, Tensor]:
    """(x0, eps) from what a network predicts for x at a level."""
    level = torch.as_tensor(level, dtype=torch.float64)  # in float32, 1 - level would lose four digits at the clean end
    signal, sigma = level.sqrt().to(x), (1 - level).sqrt().to(x)
    if prediction == "epsilon":
        return (x - sigma * output) / signal, output
    if prediction == "v_prediction":
        return signal * x - sigma * output, sigma * x + signal * output
    return output, (x - signal * output) / sigma


def sigma_of(start: float, end: float, eta: float) -> float:
    """Deviation of the noise that a DDIM step from level `start` to `end` > start adds (Song et al. 2021, eq. 16)."""
    if start >= end:
        raise ValueError(f"a denoising step goes to a higher level, got {start} -> {end}")
    return eta * math.sqrt((1 - end) / (1 - start)) * math.sqrt(1 - start / end)


def ddim_step(
    x0: Tensor, eps: Tensor, start: float, end: float, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """One DDIM step (Song et al. 2021, eq. 12) from level `start` to `end`."""
    sigma = sigma_of(start, end, eta) if eta else 0.0
    out = math.sqrt(end) * x0 + math.sqrt(max(0.0, 1 - end - sigma**2)) * eps
    return out.add_(noise, alpha=sigma) if sigma else out


def decode(
    denoise: Denoiser,
    x: Tensor,
    along: Path,
    start: int | None = None,
    eta: float = 0.0,
    noise: Noise | None = None,
    clip: bool = False,
) -> Tensor:
    """Images from x at place `start` of a path (None = its noisy end) down to place 0.

    Args:
        eta: 0 = deterministic; 1 over all T timesteps = DDPM's ancestral sampling.
        noise: standard normal for the step that leaves place k; needed when eta > 0.
        clip: clamp the clean estimate to [-1,1] at every step, eps derived anew; no longer inverse to `encode`.
    Cost: one network evaluation per step.
    """
    for k in range(along.n if start is None else start, 0, -1):
        x0, eps = denoise(x, along.timesteps[k - 1])
        if clip:
            x0 = x0.clamp(-1, 1)
            eps = (x - math.sqrt(along.levels[k]) * x0) / math.sqrt(1 - along.levels[k])
        adds = eta > 0 and along.levels[k - 1] < 1
        x = ddim_step(x0, eps, along.levels[k], along.levels[k - 1], eta, noise(k) if adds else None)
    return x


def encode(denoise: Denoiser, x0: Tensor, along: Path, stop: int | None = None, fixed_point: int = 0) -> list[Tensor]:
    """The images at places 0..stop of a path, by deterministic DDIM inversion: x[k] decodes to x[k-1].

    The network is asked at x[k-1] with the timestep of x[k], as diffusers' DDIMInverseScheduler does (equal to it for
    epsilon-prediction; other predictions are split at that timestep's level here); each fixed-point iteration asks
    again at the x[k] found so far, and converges to the exact inverse of `decode`.

    Cost: (1 + fixed_point) evaluations per step.
    """
    inverted = [x0]
    for k in range(1, (along.n if stop is None else stop) + 1):
        before, (end, start) = inverted[-1], (along.levels[k - 1], along.levels[k])
        x = before
        for _ in range(1 + fixed_point):
            _, eps = denoise(x, along.timesteps[k - 1])
            x = math.sqrt(start / end) * (before - math.sqrt(1 - end) * eps) + math.sqrt(1 - start) * eps
        inverted.append(x)
    return inverted


def encode_as_published(denoise: Denoiser, x0: Tensor, along: Path) -> Tensor:
    """The noise of images as the diffusion autoencoder's code finds it, [M,C,H,W]; along a path with leading spacing.

    The network is asked at x[k] with the timestep that x[k] is taken to have: the clean image that of the first place.
    The clean estimate is clamped to [-1,1] and eps derived anew; the last step goes to pure noise. Not an inverse of
    `decode`: `encode` is.

    Cost: one evaluation per step.
    """
    x = x0
    for k in range(1, along.n + 1):
        level, after = along.levels[k], along.levels[k + 1] if k < along.n else 0.0
        clean = denoise(x, along.timesteps[k - 1])[0].clamp(-1, 1)
        eps = (x - math.sqrt(level) * clean) / math.sqrt(1 - level)
        x = math.sqrt(after) * clean + math.sqrt(1 - after) * eps
    return x


def posterior(x: Tensor, x0: Tensor, start: float, end: float) -> tuple[Tensor, float]:
    """Mean and variance of q(x_end | x_start, x0), the DDPM posterior between two levels (Ho et al. 2020, eq. 7)."""
    beta = 1 - start / end
    mean = (math.sqrt(end) * beta * x0 + math.sqrt(start / end) * (1 - end) * x) / (1 - start)
    return mean, beta * (1 - end) / (1 - start)


def inpaint(
    denoise: Denoiser,
    x: Tensor,
    along: Path,
    known: Callable[[int], Tensor],
    keep: Tensor,
    eta: float,
    normal: Callable[[], Tensor],
    jump_length: int = 1,
    n_resample: int = 1,
) -> Tensor:
    """Fill what a mask removed: denoise, and put the known pixels back at every place of the path (POMELO, Fig. 3;
    RePaint).

    Args:
        x: noise [M,C,H,W] at the noisy end.
        known: place k -> the known image noised to that place, [M,C,H,W].
        keep: [M,1,H,W] in [0,1], 1 = known.
        normal: a fresh standard normal [M,C,H,W] per call.
        jump_length, n_resample: RePaint's resampling (Lugmayr et al. 2022, algorithm 1 and appendix): every jump_length
            places go that many back towards noise and denoise again, n_resample - 1 times; 1 = none.
    Cost: one evaluation per step down: n + (n_resample - 1) * about n for any jump_length.
    """
    x = torch.lerp(x, known(along.n), keep)
    for before, after in itertools.pairwise(resampled_places(along.n, jump_length, n_resample)):
        if after > before:  # back towards noise
            ratio = along.levels[after] / along.levels[before]
            x = math.sqrt(ratio) * x + math.sqrt(1 - ratio) * normal()
            continue
        x0, eps = denoise(x, along.timesteps[before - 1])
        adds = eta > 0 and along.levels[after] < 1
        x = ddim_step(x0, eps, along.levels[before], along.levels[after], eta, normal() if adds else None)
        x = torch.lerp(x, known(after), keep)
    return x


def resampled_places(n: int, jump_length: int = 1, n_resample: int = 1) -> list[int]:
    """The places that RePaint visits, from n to 0, neighbours one apart."""
    # the clean image is not noised again
    left = {place: n_resample - 1 for place in range(1, n - jump_length + 1, jump_length)}
    visited, place = [n], n
    while place > 0:
        place -= 1
        visited.append(place)
        if left.get(place, 0) > 0:
            left[place] -= 1
            for _ in range(jump_length):
                place += 1
                visited.append(place)
    return visited


SOLVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "sde-dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    "unipc": ("UniPCMultistepScheduler", {"solver_order": 2}),
    "deis": ("DEISMultistepScheduler", {"solver_order": 2}),
}


def solver(name: str, beta: Tensor, n: int, prediction: Prediction = "epsilon", spacing: Spacing = "trailing") -> Any:
    """A fresh few-step scheduler of diffusers over n steps of a schedule; stateful: one per batch of images."""
    import diffusers

    kind, extra = SOLVERS[name]
    scheduler = getattr(diffusers, kind)(
        num_train_timesteps=len(beta),
        trained_betas=beta.float().numpy(),
        prediction_type=prediction,
        timestep_spacing=spacing,
        **extra,
    )
    scheduler.set_timesteps(n)
    return scheduler
