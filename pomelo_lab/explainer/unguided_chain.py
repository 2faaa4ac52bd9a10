"""Clean estimates of noisy images by a denoising chain without guidance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pomelo_lab.generator.ancestral import Ancestral
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import ddim_step


@dataclass(frozen=True)
class UnguidedChain:
    """Computes the clean images at which DiME takes its gradients. All images lie in [-1,1].

    generator: the denoiser.
    chain: its respaced steps.
    n_ddim: number of deterministic steps of an estimate; None = an ancestral chain from the noisy image.
    """

    generator: DDPM
    chain: Ancestral
    n_ddim: int | None = None

    def denoise(self, z: Tensor, k: int) -> tuple[Tensor, Tensor | None]:
        """The denoiser's clean estimate at step k, clamped, and its learned share of the variance, which is None
        when it learns none."""
        t, generator = self.chain.schedule.timesteps[k - 1], self.generator
        if generator.learns_variance:
            return generator.forwards.rows(lambda start, stop: generator.estimate(z[start:stop], t), len(z))
        return generator.forwards(lambda part: generator.estimate(part, t)[0], z), None

    def estimate(self, z: Tensor, k: int, noise: Callable[[int], Tensor]) -> Tensor:
        """Denoises the noisy image of step k completely.

        Args: noise: step -> standard normals of an ancestral chain.
        """
        if self.n_ddim is None:
            return self.chain.sample(self.denoise, z, k, noise)
        steps = list(range(k, -1, -1))
        if k > self.n_ddim:
            steps = [round(k * (1 - i / self.n_ddim)) for i in range(self.n_ddim + 1)]
        alphas_cumprod = self.chain.schedule.alphas_cumprod
        for step, after in zip(steps, steps[1:], strict=False):
            x0, _ = self.denoise(z, step)
            level = alphas_cumprod[step]
            z = ddim_step(x0, (z - level**0.5 * x0) / (1 - level) ** 0.5, level, alphas_cumprod[after])
        return z
