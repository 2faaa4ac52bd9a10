"""Continuous diffusion processes, and the information about the clean image that a noisy image contains.

Both processes mix an image x0 with unit noise e: x_t = signal(t) x0 + noise(t) e, with t from 0 (nearly clean) to 1.
The information depends on t only through log_snr(t) = 2 log(signal / noise), the logarithm of the signal-to-noise
ratio, which falls with t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VP:
    """Variance preserving: dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, with beta rising linearly.

    Source: Song et al. (2021), https://arxiv.org/abs/2011.13456, appendix C; "Fisher Divergence for Attribution", eq.
        38-41 (section 3.2.4).
    Args: beta_min, beta_max: beta at t = 0 and 1.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def log_level(self, t: Tensor) -> Tensor:
        """Logarithm of alpha-bar at time t."""
        return -(self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t.square())

    def signal(self, t: Tensor) -> Tensor:
        return (0.5 * self.log_level(t)).exp()

    def noise(self, t: Tensor) -> Tensor:
        return (-torch.expm1(self.log_level(t))).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        level = self.log_level(t)
        return level - (-torch.expm1(level)).log()


@dataclass(frozen=True)
class VE:
    """Variance exploding: the image stays as it is under noise of deviation sigma_min (sigma_max / sigma_min)^t.

    Source: Song et al. (2021), appendix C; "Fisher Divergence for Attribution", eq. 35-37 (section 3.2.4; sigma_max is
        "set based on the dataset": Song & Ermon 2020 take the largest distance of two images).
    Args: sigma_min, sigma_max: deviations at t = 0 and 1, of images in [-1,1].
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def signal(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def noise(self, t: Tensor) -> Tensor:
        return self.sigma_min * (t * math.log(self.sigma_max / self.sigma_min)).exp()

    def log_snr(self, t: Tensor) -> Tensor:
        return -2 * self.noise(t).log()


def cumulative_information(log_snr: Tensor, error: Tensor) -> Tensor:
    """Information in nats gained between the noisiest node of a grid and each node.

    It is half the integral of the noise's estimation error over log SNR. The error lies in [0,1] and is smooth there,
    so the trapezoidal rule suffices; as an integral over t it diverges.

    Source: I(X_t; X_0) = 1/2 int e dL (Guo, Shamai & Verdu 2005; "Fisher Divergence for Attribution", theorem 3.1 and
        eq. 47 to 49 with beta / (1 - alpha-bar) dt = -dL); e is the mean squared error of the best noise estimate.
    Shapes: log_snr [K] rising, error [...,K] -> [...,K], 0 at the first node.
    """
    area = 0.5 * (error[..., 1:] + error[..., :-1]) * (log_snr[1:] - log_snr[:-1])
    return 0.5 * torch.cat([torch.zeros_like(error[..., :1]), area.cumsum(-1)], -1)


def interpolate_information(wanted: Tensor, log_snr: Tensor, error: Tensor) -> Tensor:
    """Cumulative information at any log SNR. The error is linear between the nodes and 0 beyond them.

    Shapes: wanted [...] (log SNR), log_snr [K] rising, error [...,K] -> [...].
    """
    whole = cumulative_information(log_snr, error)
    wanted = wanted.clamp(log_snr[0], log_snr[-1])
    left = (torch.searchsorted(log_snr, wanted.contiguous(), right=True) - 1).clamp(0, len(log_snr) - 2)
    start, width = log_snr[left], log_snr[left + 1] - log_snr[left]

    def node(values: Tensor, index: Tensor) -> Tensor:
        return values.gather(-1, index[..., None])[..., 0]

    low, high = node(error, left), node(error, left + 1)
    share = (wanted - start) / width
    return node(whole, left) + 0.5 * (wanted - start) * (low + 0.5 * share * (high - low))
