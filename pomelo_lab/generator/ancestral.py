"""Ancestral sampling of a diffusion model on a respaced schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pomelo_lab.generator.diffusion import Schedule, posterior
from pomelo_lab.generator.learned_variance import interpolate_variance


@dataclass(frozen=True)
class Ancestral:
    """Ancestral steps of a respaced DDPM, with the variances of the posterior or learned ones.

    Source: Ho et al. (2020), algorithm 2; learned variances Nichol & Dhariwal (2021). Departures: the last posterior
        variance is that of the step before, as in guided diffusion. Diffusers clamps it to 0, which would also remove
        the guidance of that step: its gradient is multiplied by the variance.
    """

    schedule: Schedule

    def variance(self, k: int) -> float:
        """The posterior variance of step k, which goes from noise level k to k - 1."""
        k = max(k, min(2, self.schedule.n_steps))
        start, end = self.schedule.alphas_cumprod[k], self.schedule.alphas_cumprod[k - 1]
        return (1 - start / end) * (1 - end) / (1 - start)

    def step_variance(self, k: int, share: Tensor | None) -> Tensor | float:
        """The variance of step k.

        Args: share: of the way from the posterior's variance to beta, as the network has learned it; None = none.
        """
        if share is None:
            return self.variance(k)
        return interpolate_variance(
            share, self.variance(k), 1 - self.schedule.alphas_cumprod[k] / self.schedule.alphas_cumprod[k - 1]
        )

    def mean(self, x: Tensor, x0: Tensor, k: int) -> Tensor:
        """Mean of the posterior at noise level k - 1, given x at level k and its clean estimate."""
        return posterior(x, x0, self.schedule.alphas_cumprod[k], self.schedule.alphas_cumprod[k - 1])[0]

    def sample(
        self,
        clean: Callable[[Tensor, int], tuple[Tensor, Tensor | None]],
        x: Tensor,
        k: int,
        noise: Callable[[int], Tensor],
    ) -> Tensor:
        """Go from noise level k down to a clean image, with k evaluations of the denoiser.

        Args:
            clean: (x, step) -> (clean estimate, learned share of the variance or None).
            noise: step -> standard normals; the last step adds none.
        """
        for step in range(k, 0, -1):
            x0, share = clean(x, step)
            x = self.mean(x, x0, step)
            if step > 1:
                x = x + self.step_variance(step, share) ** 0.5 * noise(step)
        return x
