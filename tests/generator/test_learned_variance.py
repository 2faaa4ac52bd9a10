import math

import pytest
import torch

from pomelo_lab.generator.ancestral import Ancestral
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import betas, noised, posterior, respace
from pomelo_lab.generator.learned_variance import (
    discretized_log_likelihood,
    interpolate_variance,
    variance_bounds,
    variational_term,
)
from pomelo_lab.training.recipe import Recipe
from pomelo_lab.training.train import training_of
from tests.tiny import TINY_UNET

TINY = {**TINY_UNET, "prediction": "epsilon", "schedule": "linear"}
LEVELS = (1 - betas("linear", 100)).cumprod(0)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_between_its_bounds_in_logarithms():
    share = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(interpolate_variance(share, 0.01, 0.04), torch.tensor([0.01, 0.02, 0.04]))
    low, beta = variance_bounds(LEVELS)
    torch.testing.assert_close(beta, betas("linear", 100))
    assert low[0] == low[1] and low[50] == pytest.approx(
        posterior(torch.zeros(1), torch.zeros(1), float(LEVELS[50]), float(LEVELS[49]))[1]
    )


def test_variances_of_diffusers():
    """Its learned_range, on a respaced chain, but for the last step, whose posterior variance is 0 there."""
    from diffusers import DDPMScheduler

    schedule = respace(LEVELS, 20, "linspace")
    scheduler = DDPMScheduler(
        100, trained_betas=betas("linear", 100).float().numpy(), variance_type="learned_range", clip_sample=False
    )
    scheduler.set_timesteps(timesteps=list(reversed(schedule.timesteps)))
    v = drawn(2, 3, 8, 8).tanh()
    for k in range(2, 21):
        log_variance = scheduler._get_variance(schedule.timesteps[k - 1], predicted_variance=v)
        torch.testing.assert_close(
            Ancestral(schedule).step_variance(k, (v + 1) / 2).log(), log_variance, atol=2e-3, rtol=1e-3
        )
    assert Ancestral(schedule).step_variance(5, None) == Ancestral(schedule).variance(5)


def test_the_bound_is_a_divergence_of_gaussians():
    x0, estimate, share = (
        drawn(4, 3, 8, 8).tanh(),
        drawn(4, 3, 8, 8, seed=1).tanh().requires_grad_(True),
        torch.rand(4, 3, 8, 8),
    )
    t = torch.tensor([1, 20, 60, 99])
    x = torch.cat(
        [noised(x0[i : i + 1], float(LEVELS[s]), drawn(1, 3, 8, 8, seed=2)) for i, s in enumerate(t.tolist())]
    )
    share.requires_grad_(True)
    term = variational_term(x0, x, estimate, share, t, LEVELS)
    low, beta = variance_bounds(LEVELS)
    for i, s in enumerate(t.tolist()):
        true, spread = posterior(x[i], x0[i], float(LEVELS[s]), float(LEVELS[s - 1]))
        mean, _ = posterior(x[i], estimate[i].detach(), float(LEVELS[s]), float(LEVELS[s - 1]))
        model = torch.distributions.Normal(mean, interpolate_variance(share[i].detach(), low[s], beta[s]).sqrt())
        expected = torch.distributions.kl_divergence(
            torch.distributions.Normal(true, math.sqrt(spread)), model
        ).mean() / math.log(2)
        torch.testing.assert_close(term[i], expected, rtol=1e-3, atol=1e-5)
    assert torch.autograd.grad(term.sum(), share, retain_graph=True)[0].abs().sum() > 0
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(term.sum(), estimate)


def test_eight_bit_values_have_all_of_the_mass():
    values = torch.arange(256) / 127.5 - 1
    mass = discretized_log_likelihood(values, torch.tensor(0.3), torch.tensor(math.log(0.02))).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-3) and int(mass.argmax()) == round(1.3 * 127.5)
    x0 = values[torch.randint(256, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0))]
    assert variational_term(x0, x0, x0, torch.zeros_like(x0), torch.tensor([0, 0]), LEVELS).isfinite().all()


def test_a_network_that_learns_them():
    """Twice the channels, trained by both losses at once; the estimate of the image is the same as without."""
    generator = DDPM(**TINY, variance="learned")
    assert generator.learns_variance and not DDPM(**TINY).learns_variance
    estimate, share = generator.estimate(drawn(2, 3, 8, 8), 50)
    assert estimate.shape == share.shape == (2, 3, 8, 8) and torch.equal(
        estimate, generator.denoise(drawn(2, 3, 8, 8), 50)[0].clamp(-1, 1)
    )
    generator.network.requires_grad_(True)
    training = training_of(generator, Recipe(), None)
    error = training.error(torch.rand(2, 3, 8, 8), torch.tensor([0, 50]), drawn(2, 3, 8, 8))
    error.sum().backward()
    slope = generator.network.conv_out.weight.grad
    assert error.isfinite().all() and slope[:3].abs().sum() > 0 and slope[3:].abs().sum() > 0
    with pytest.raises(ValueError, match="variance=learned needs sigma_data=null"):
        DDPM(**{**TINY, "prediction": "v_prediction"}, sigma_data=[0.5], variance="learned")
