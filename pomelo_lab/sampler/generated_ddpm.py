"""New images of a diffusion model, scored as if they were perturbations, as a reference."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pomelo_lab.batching import RowNoise
from pomelo_lab.config.hints import Count, Fraction
from pomelo_lab.cost import Cost
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.sampler.generated import GeneratedSampler


@dataclass(kw_only=True)
class GeneratedDDPMSampler(GeneratedSampler):
    """Draws unconditional samples of a diffusion model, which do not depend on the image.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, algorithm 2, respaced as by Song et al. (2021),
        https://arxiv.org/abs/2010.02502; a reference row beside the validation images. Departures: none.
    Args:
        generator: the diffusion model. If the config leaves it out, the job's generator is used.
        temperature: standard deviation of all noise, at the start and in the steps.
        n_steps: steps from noise to image; at most T.
        eta: share of DDPM's noise in each step: 1 = ancestral, 0 = deterministic.
    Shapes: images [B,C,H,W] -> uint8 [B,n,C,H,W].
    Cost: n_steps evaluations per image drawn.
    Random: one normal per value and noisy step, per (image id, index of the new image).
    """

    generator: DDPM
    n_steps: Count = 100
    eta: Fraction = 1.0

    def generate(self, draws: RowNoise) -> Tensor:
        shape = self.generator.shape

        def noise() -> Tensor:
            return self.temperature * draws.normal(*shape)

        return self.generator.generate(noise(), self.n_steps, self.eta, noise)

    def cost(self, n: int) -> Cost:
        return Cost(evaluations=n * min(self.n_steps, len(self.generator.alphas_cumprod)))
