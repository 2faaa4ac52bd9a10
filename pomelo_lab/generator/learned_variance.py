"""Learned variances of a diffusion model (Nichol & Dhariwal 2021): their parametrisation and their loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def interpolate_variance(share: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """The variance at a share of the way from `low` to `high`, in logarithms (Nichol & Dhariwal 2021, eq. 15).

    `low` is the posterior's variance and `high` is beta.
    """
    low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (low, high))
    return torch.lerp(low.log().to(share), high.log().to(share), share).exp()


def variance_bounds(alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    """(posterior variance, beta) of the steps between neighbouring timesteps, float64 [T].

    The first posterior variance would be 0; it is replaced by the second.

    Args: alphas_cumprod: [T], from the clean end.
    """
    previous = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
    beta = 1 - alphas_cumprod / previous
    low = beta * (1 - previous) / (1 - alphas_cumprod)
    low[0] = low[1]
    return low, beta


def variational_term(
    x0: Tensor, x: Tensor, estimate: Tensor, share: Tensor, t: Tensor, alphas_cumprod: Tensor
) -> Tensor:
    """One term of the variational bound, in bits per value [B]. Its gradient reaches the variance alone.

    Source: Nichol & Dhariwal (2021), section 3.1, and guided diffusion's code: Kullback-Leibler divergence of the
        model's step from the posterior given the image; at t = 0 the negative log-likelihood of 8-bit values.
        Departures: none.
    Args:
        x0, x: clean and noisy images [B,C,H,W], the clean ones in [-1,1].
        estimate: the model's estimate of x0.
        share: in [0,1], see `interpolated`.
        t: timesteps, int64 [B].
        alphas_cumprod: float64 [T].
    """
    low, beta = (bound[t].to(x)[:, None, None, None] for bound in variance_bounds(alphas_cumprod.to(t.device)))
    alpha_bar = alphas_cumprod.to(t.device)[t].to(x)[:, None, None, None]
    previous = alpha_bar / (1 - beta)
    x0_weight, x_weight = previous.sqrt() * beta / (1 - alpha_bar), (1 - beta).sqrt() * (1 - previous) / (1 - alpha_bar)
    mean = x0_weight * estimate.detach().clamp(-1, 1) + x_weight * x
    log_variance = interpolate_log_variance(share, low, beta)
    posterior_mean = x0_weight * x0 + x_weight * x
    divergence = 0.5 * (
        log_variance - low.log() - 1 + low / log_variance.exp() + (posterior_mean - mean).square() / log_variance.exp()
    )
    likelihood = -discretized_log_likelihood(x0, mean, 0.5 * log_variance)
    term = torch.where((t == 0)[:, None, None, None], likelihood, divergence)
    return term.mean((1, 2, 3)) / math.log(2)


def interpolate_log_variance(share: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The logarithm of `interpolated`, for bounds that differ between images."""
    return share * high.log() + (1 - share) * low.log()


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log probability of the 8-bit value of x in [-1,1] under a Gaussian. The first and the last value take the
    tails."""
    scale = log_scale.exp()

    def cdf(value: Tensor) -> Tensor:
        return torch.special.ndtr((value - mean) / scale)

    upper, lower = cdf(x + 1 / 255), cdf(x - 1 / 255)
    upper, lower = (
        torch.where(x > 0.999, torch.ones_like(upper), upper),
        torch.where(x < -0.999, torch.zeros_like(lower), lower),
    )
    return (upper - lower).clamp_min(1e-12).log()
