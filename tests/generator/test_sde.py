import math

import pytest
import torch

from pomelo_lab.generator.sde import VE, VP, cumulative_information, interpolate_information

TIMES = torch.tensor([0.01, 0.1, 0.3, 0.6], dtype=torch.float64)


@pytest.mark.parametrize("variance", [0.25, 1.0])
@pytest.mark.parametrize("process", [VP(), VE()], ids=lambda p: type(p).__name__)
def test_information_of_gaussian_data_is_that_of_the_gaussian_channel(process, variance):
    """With the exact score of N(m, v): I = 1/2 ln(1 + SNR v)."""
    log_snr = process.log_snr(TIMES)
    node = torch.linspace(-15, float(log_snr.max()), 257, dtype=torch.float64)
    error = variance * node.exp() / (1 + variance * node.exp())
    tail = 0.5 * math.log1p(variance * math.exp(-15))
    information = interpolate_information(log_snr, node, error.expand(4, -1)) + tail
    torch.testing.assert_close(information, 0.5 * torch.log1p(variance * log_snr.exp()), atol=1e-4, rtol=0)


def test_the_four_times_of_a_quarter_variance():
    values = 0.5 * torch.log1p(0.25 * VP().log_snr(TIMES).exp())
    torch.testing.assert_close(
        values, torch.tensor([2.4189, 0.5753, 0.0760, 0.00335], dtype=torch.float64), atol=5e-5, rtol=0
    )


@pytest.mark.parametrize("process", [VP(), VE()], ids=lambda p: type(p).__name__)
def test_signal_to_noise_is_that_of_the_mixture(process):
    t = torch.linspace(0.001, 1, 50, dtype=torch.float64)
    torch.testing.assert_close(process.log_snr(t), 2 * (process.signal(t) / process.noise(t)).log())
    assert (process.log_snr(t).diff() < 0).all()
    if isinstance(process, VP):
        torch.testing.assert_close(process.signal(t) ** 2 + process.noise(t) ** 2, torch.ones_like(t))


@pytest.mark.parametrize("process", [VP(), VE()], ids=lambda p: type(p).__name__)
def test_two_gaussians_approach_each_other_by_half_their_fisher_divergence(process):
    """Theorem 3.1: d KL(p_t || q_t) / dt = -g(t)^2 / 2 * E_p |grad log p_t - grad log q_t|^2, for p = N(0.5, 0.3) and q
    = N(-0.2, 1.4)."""
    t = TIMES.clone().requires_grad_(True)
    signal, noise = process.signal(t), process.noise(t)
    mean = 0.5 * signal, -0.2 * signal
    variance = 0.3 * signal**2 + noise**2, 1.4 * signal**2 + noise**2
    divergence = 0.5 * (
        variance[0] / variance[1] + (mean[0] - mean[1]) ** 2 / variance[1] - 1 + (variance[1] / variance[0]).log()
    )

    def slope(value):
        return torch.autograd.grad(value.sum(), t, retain_graph=True)[0]

    drift = slope((signal + 0 * t).log()) if isinstance(process, VP) else torch.zeros_like(t)
    diffusion = slope(noise**2) - 2 * drift * noise**2  # g(t)^2: what noise gains beyond the drift
    # E_p of the squared difference
    scores = (1 / variance[1] - 1 / variance[0]) ** 2 * variance[0] + ((mean[0] - mean[1]) / variance[1]) ** 2
    torch.testing.assert_close(slope(divergence), -0.5 * diffusion * scores)
    if isinstance(process, VP):
        torch.testing.assert_close(diffusion, 0.1 + 19.9 * TIMES)  # beta(t), eq. 39


def test_alpha_bar_is_the_integral_of_beta():
    """The discrete chain of 1,000 steps with beta(t) / 1000 each tends to the same level."""
    process, step = VP(beta_min=0.1, beta_max=20.0), (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    level = (1 - (0.1 + 19.9 * step) / 1000).log().cumsum(0)
    torch.testing.assert_close(process.log_level(torch.ones(1, dtype=torch.float64))[0], level[-1], atol=0.1, rtol=0)


def test_information_between_nodes_follows_the_line_between_errors():
    node, error = torch.tensor([-2.0, 0.0, 3.0]), torch.tensor([[0.0, 0.4, 1.0]])
    torch.testing.assert_close(cumulative_information(node, error), torch.tensor([[0.0, 0.2, 1.25]]))
    exact = 0.2 + 0.5 * (0.4 + 0.5) / 2 * 0.5  # half the trapezoid from 0 to 0.5
    torch.testing.assert_close(interpolate_information(torch.tensor([0.5]), node, error), torch.tensor([exact]))
    torch.testing.assert_close(interpolate_information(torch.tensor([-9.0]), node, error), torch.zeros(1))
    torch.testing.assert_close(interpolate_information(torch.tensor([9.0]), node, error), torch.tensor([1.25]))
