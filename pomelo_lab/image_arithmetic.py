"""Arithmetic on image tensors that samplers, explainers and metrics share."""

from __future__ import annotations

import torch
from torch import Tensor


def in_colour(images: Tensor) -> Tensor:
    """Gray images in three equal channels, as image files are read for networks of colour: [B,C,H,W] -> [B,3,H,W]."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def blur(image: Tensor, sigma_px: float, cut: float = 4.0, radius_px: int | None = None) -> Tensor:
    """A Gaussian blur of the last two axes, mirrored at the edges: [...,H,W] -> [...,H,W].

    Args:
        sigma_px: standard deviation of the Gaussian.
        cut: where it ends, in standard deviations.
        radius_px: where it ends, in pixels, instead of `cut`.
    """
    rows, columns = (blur_matrix(n, sigma_px, cut, radius_px).to(image) for n in image.shape[-2:])
    return rows @ image @ columns.mT


def blur_matrix(n: int, sigma_px: float, cut: float = 4.0, radius_px: int | None = None) -> Tensor:
    """The Gaussian blur of a line of n pixels as a matrix, see `blur`: float64 [n,n], rows sum to 1."""
    radius = radius_px or max(int(cut * sigma_px + 0.5), 1)
    offset = torch.arange(-radius, radius + 1)
    weight = torch.exp(-0.5 * (offset.double() / sigma_px) ** 2)
    period = max(2 * (n - 1), 1)
    position = (torch.arange(n)[:, None] + offset) % period
    position = torch.where(position >= n, period - position, position)  # the mirror: one period is 0..n-1 and back
    return torch.zeros(n, n, dtype=torch.float64).scatter_add_(1, position, (weight / weight.sum()).expand(n, -1))
