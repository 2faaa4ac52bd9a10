"""New images of the exact denoiser of Gaussian images: their law in closed form."""

import math

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.sampler.generated_ddpm import GeneratedDDPMSampler
from tests.sampler.exact import MEAN, SIGMA, decoded, gaussian_batch, gaussian_ddpm, node_of


@pytest.mark.parametrize("n_steps, eta", [(10, 0.0), (10, 1.0), (100, 1.0)])
def test_pixels_follow_the_closed_form(n_steps, eta):
    """Gain and offset of the first noise and the variance of what is added later; noise used twice would be correlated
    with itself."""
    generator = gaussian_ddpm()
    perturbed_images = (
        GeneratedDDPMSampler(generator=generator, n_steps=n_steps, eta=eta)
        .perturb(gaussian_batch(2), None, 40, RandomStreams(0))
        .image
    )
    (gain, offset), added = decoded(
        generator.respace(n_steps).alphas_cumprod, eta, torch.tensor([1.0, 0.0], dtype=torch.float64)
    )
    pixels, deviation = perturbed_images.float() / 255 * 2 - 1, math.sqrt(float(gain) ** 2 + added)
    assert pixels.mean().item() == pytest.approx(float(offset), abs=4 * SIGMA / math.sqrt(pixels.numel()) + 2e-3)
    assert pixels.std().item() == pytest.approx(deviation, rel=0.03)


def test_enough_steps_give_the_images_law():
    perturbed_images = (
        GeneratedDDPMSampler(generator=gaussian_ddpm(), n_steps=1000)
        .perturb(gaussian_batch(2), None, 40, RandomStreams(0))
        .image
    )
    pixels = perturbed_images.float() / 255 * 2 - 1
    assert pixels.mean().item() == pytest.approx(MEAN, abs=0.03) and pixels.std().item() == pytest.approx(
        SIGMA, rel=0.05
    )


def test_more_steps_than_the_model_has_are_all_of_them():
    short = GeneratedDDPMSampler(generator=gaussian_ddpm(n_timesteps=20))
    assert short.cost(3).evaluations == 60
    whole = GeneratedDDPMSampler(generator=gaussian_ddpm(n_timesteps=20), n_steps=20)
    assert (
        whole.cost(3).evaluations == 60
        and GeneratedDDPMSampler(generator=gaussian_ddpm(), n_steps=7).cost(3).evaluations == 21
    )
    assert torch.equal(*(s.perturb(gaussian_batch(1), None, 3, RandomStreams(0)).image for s in (short, whole)))


def test_yaml_is_the_constructor():
    target = "pomelo_lab.sampler.generated_ddpm.GeneratedDDPMSampler"
    assert node_of("generated_ddpm") == {"_target_": target, "temperature": 1.0, "n_steps": 100, "eta": 1.0}
