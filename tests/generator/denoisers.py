"""Denoisers whose answers are known in closed form, for tests of diffusion."""

import math

import torch

from pomelo_lab.generator.diffusion import betas

LINEAR = (1 - betas("linear", 1000)).cumprod(0)
COSINE = (1 - betas("cosine", 1000)).cumprod(0)
SHAPE = (3, 8, 8)


def draw(n=2, seed=0, shape=SHAPE, dtype=torch.float32):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gaussian(alphas_cumprod, mean=0.3, sigma=0.2):
    """The exact denoiser of data N(mean, sigma^2)."""

    def denoise(x, t):
        a = float(alphas_cumprod[t])
        off = (x - math.sqrt(a) * mean) / (a * sigma**2 + 1 - a)
        return mean + math.sqrt(a) * sigma**2 * off, math.sqrt(1 - a) * off

    return denoise


def mixture(alphas_cumprod, sigma=0.4, n=24):
    """The exact denoiser of a mixture of n Gaussians around random images in [-1,1]."""
    centers = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(9), dtype=torch.float64) * 2 - 1

    def denoise(x, t):
        a = float(alphas_cumprod[t])
        off = x[:, None] - math.sqrt(a) * centers
        weight = (-off.square().sum((2, 3, 4)) / (2 * (a * sigma**2 + 1 - a))).softmax(1)
        eps = math.sqrt(1 - a) * (weight[..., None, None, None] * off).sum(1) / (a * sigma**2 + 1 - a)
        return (x - math.sqrt(1 - a) * eps) / math.sqrt(a), eps

    noise = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    return denoise, centers[:8] + sigma * noise
