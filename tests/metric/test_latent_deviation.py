"""Denoisers and flows whose inversion is known in closed form."""

from types import SimpleNamespace

import pytest
import torch

from pomelo_lab.batching import MicroBatches
from pomelo_lab.explainer.case import Case
from pomelo_lab.generator.diffusion import betas, respace
from pomelo_lab.metric.latent_deviation import LatentDeviation
from pomelo_lab.sampler.ddim import DDIMSampler
from pomelo_lab.sampler.flow import FlowSampler
from tests.tiny import batch_of, tiny_image

LEVELS = torch.cumprod(1 - betas("linear", 1000), 0)


def sampler(kind, generator):
    """A sampler around a stand-in for its network."""
    made = object.__new__(kind)
    made.__dict__.update(
        generator=generator,
        n_steps=1000,
        start=0,
        n_encode=None,
        fixed_point=0,
        solver="ddim",
        depth=1.0,
        spacing="trailing",
    )
    return made


def diffusion(deviation):
    """The denoiser of Gaussian data of a deviation: the noise in x is sqrt(1 - a) x / (a deviation^2 + 1 - a);
    deviation=None sees none."""

    def denoise(x, t):
        a = float(LEVELS[t])
        noise = torch.zeros_like(x) if deviation is None else (1 - a) ** 0.5 * x / (a * deviation**2 + 1 - a)
        return (x - (1 - a) ** 0.5 * noise) / a**0.5, noise

    return SimpleNamespace(
        denoise=denoise,
        scaled=lambda x: 2 * x - 1,
        forwards=MicroBatches(8),
        depth=1.0,
        respace=lambda n, spacing, depth: respace(LEVELS, n, spacing),
    )


def scored(made, image):
    metric = object.__new__(LatentDeviation)
    metric.__dict__.update(sampler=made, n_images=None)
    return metric.score(Case(batch=batch_of(image)))["value"]


@pytest.mark.parametrize("deviation", [1.0, 0.5])
def test_the_exact_denoiser_of_gaussian_data_finds_unit_noise(deviation):
    """Its probability flow takes x to x sqrt(a d^2 + 1 - a) / d: images of deviation d come out with deviation 1,
    others in proportion."""
    image = tiny_image(3)
    x = 2 * image - 1
    expected = (x.flatten(1).double().square().mean(1)).sqrt() / deviation
    torch.testing.assert_close(scored(sampler(DDIMSampler, diffusion(deviation)), image), expected, rtol=0.02, atol=0)


def test_a_denoiser_that_sees_no_noise_finds_none():
    assert float(scored(sampler(DDIMSampler, diffusion(None)), tiny_image(2)).max()) < 1e-4


def test_a_flow_s_latents_as_they_are():
    image = tiny_image(3)
    flow = sampler(FlowSampler, SimpleNamespace(encode=lambda x: 3 * x.flatten(1), forwards=MicroBatches(2)))
    torch.testing.assert_close(scored(flow, image), 3 * image.flatten(1).double().square().mean(1).sqrt())


def test_samplers_that_do_not_invert_are_refused():
    with pytest.raises(ValueError, match="needs a sampler that inverts images"):
        scored(SimpleNamespace(), tiny_image(1))
