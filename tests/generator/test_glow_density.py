"""The density of the flow: its log-determinant, its integral, and a closed form."""

import itertools
import math

import pytest
import torch

from pomelo_lab.generator.glow import Glow
from tests.generator.test_glow import COUPLINGS, shaken, tiny, uniform
from tests.tiny import tiny_image


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_log_determinant_is_that_of_the_jacobian(coupling):
    generator = shaken(tiny(channels=1, size_px=8, n_blocks=2, coupling=coupling), sigma=0.1)

    def flow(offset):
        eps, _, _ = generator.network(generator.scaled(image, offset)[0])
        return torch.cat([part.flatten(1) for part in eps], 1)[0]

    for seed in range(2):
        image, offset = tiny_image(1, (1, 8, 8), seed), uniform(1, 1, 8, 8, seed=seed)
        jacobian = torch.autograd.functional.jacobian(flow, offset).flatten(1).double()
        x, change = generator.scaled(image, offset)
        spread = generator.network(x)[2]
        expected = torch.linalg.slogdet(jacobian)[1].float()
        torch.testing.assert_close((spread + change)[0], expected, atol=1e-3, rtol=1e-5)
        density = -0.5 * flow(offset).square().sum() - 32 * math.log(2 * math.pi) + expected
        torch.testing.assert_close(generator.log_density(image, offset)[0], density, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_density_integrates_to_one(coupling):
    """All 16 images of 2x2 pixels with one bit, each over a grid of 10^4 places in its bin; without margin the bins
    cover everything."""
    generator = shaken(
        Glow(channels=1, size_px=2, n_blocks=1, n_flows=2, hidden=8, margin=0.0, n_bits=1, coupling=coupling),
        sigma=0.02,
    )
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).view(16, 1, 2, 2)
    inside = (torch.arange(10) + 0.5) / 10
    offsets = torch.cartesian_prod(*[inside] * 4).view(-1, 1, 2, 2)
    total = sum(
        float(generator.log_density(image.expand_as(offsets), offsets).exp().double().mean()) for image in images
    )
    assert total == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("n_bits", [5, 8])
def test_density_of_an_untrained_additive_flow_is_a_closed_form(n_bits):
    """It only rotates, so the density is that of independent normal logits; in bits, a little more than n_bits for
    images that are noise."""
    generator, images, noise = (
        tiny(coupling="additive", n_bits=n_bits),
        tiny_image(8, (3, 16, 16)),
        uniform(8, 3, 16, 16),
    )
    x, change = generator.scaled(images, noise)
    expected = torch.distributions.Normal(0, 1).log_prob(x).flatten(1).sum(1) + change
    torch.testing.assert_close(generator.log_density(images, noise), expected, atol=1e-2, rtol=1e-5)
    y = 0.05 + 0.9 * (torch.arange(10000) + 0.5) / 10000
    divergence = -(
        torch.distributions.Normal(0, 1).log_prob(y.logit()) + (0.9 / (y * (1 - y))).log()
    ).mean() / math.log(2)
    bits = -generator.log_density(images, noise).mean() / (math.log(2) * 768)
    assert float(bits) == pytest.approx(n_bits + float(divergence), abs=0.05) and 0 < divergence < 0.5
