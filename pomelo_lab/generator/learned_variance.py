"""Variances that a diffusion model learns: an interpolation between the two that bound them, and the loss that trains
it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def interpolated(share: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """The variance at a share of the way, in logarithms, from the posterior's to beta (Nichol & Dhariwal 2021, eq.
    15)."""
    low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (low, high))
    return torch.lerp(low.log().to(share), high.log().to(share), share).exp()


def bounds(levels: Tensor) -> tuple[Tensor, Tensor]:
    """(posterior variance, beta) of the steps between neighbouring levels: float64 [T]; the first posterior variance,
    0, is the second's.

    Args: levels: alpha-bar [T], from the clean end.
    """
    before = torch.cat([levels.new_ones(1), levels[:-1]])
    beta = 1 - levels / before
    low = beta * (1 - before) / (1 - levels)
    low[0] = low[1]
    return low, beta


def bound_term(x0: Tensor, x: Tensor, estimate: Tensor, share: Tensor, t: Tensor, levels: Tensor) -> Tensor:
    """One term of the variational bound, bits per value [B], whose gradient reaches the variance alone.

    Source: Nichol & Dhariwal (2021), section 3.1, and guided diffusion's code: Kullback-Leibler divergence of the
        model's step from the posterior given the image; at t = 0 the negative log-likelihood of 8-bit values.
        Departures: none.
    Args:
        x0, x: images [B,C,H,W] in [-1,1] and what noise made of them; estimate: the model's clean estimate; share: in
            [0,1], see `interpolated`.
        t: timesteps int64 [B]; levels: alpha-bar [T], float64.
    """
    low, beta = (bound[t].to(x)[:, None, None, None] for bound in bounds(levels.to(t.device)))
    level = levels.to(t.device)[t].to(x)[:, None, None, None]
    before = level / (1 - beta)
    first, second = before.sqrt() * beta / (1 - level), (1 - beta).sqrt() * (1 - before) / (1 - level)
    mean = first * estimate.detach().clamp(-1, 1) + second * x
    log_variance = interpolated_log(share, low, beta)
    true = first * x0 + second * x
    divergence = 0.5 * (
        log_variance - low.log() - 1 + low / log_variance.exp() + (true - mean).square() / log_variance.exp()
    )
    likelihood = -discretized_log_likelihood(x0, mean, 0.5 * log_variance)
    term = torch.where((t == 0)[:, None, None, None], likelihood, divergence)
    return term.mean((1, 2, 3)) / math.log(2)


def interpolated_log(share: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """log of `interpolated` for bounds that differ by image."""
    return share * high.log() + (1 - share) * low.log()


def discretized_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log of the mass that a Gaussian puts on the 8-bit value of x in [-1,1]; the first and the last value take the
    tails."""
    scale = log_scale.exp()

    def below(value: Tensor) -> Tensor:
        return torch.special.ndtr((value - mean) / scale)

    upper, lower = below(x + 1 / 255), below(x - 1 / 255)
    upper, lower = (
        torch.where(x > 0.999, torch.ones_like(upper), upper),
        torch.where(x < -0.999, torch.zeros_like(lower), lower),
    )
    return (upper - lower).clamp_min(1e-12).log()
