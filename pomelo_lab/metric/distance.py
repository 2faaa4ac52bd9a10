"""Locality: distances between perturbations and their image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pomelo_lab.batching import MicroBatches
from pomelo_lab.config.hints import Range
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.types import Perturbations

VALUES_AT_ONCE = 2**22  # image values compared at once: 16 MiB per temporary


@dataclass(kw_only=True)
class L2(Metric):
    """Euclidean distance between an image and its perturbations, mean over perturbations.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.3. Plain L2 over all
        C*H*W values in [0,1], not divided by their number: this reading reproduces the size of the reported 39.36 for
        black-out. Departures: none.
    """

    revision: ClassVar[int] = 2  # 1 counted the image itself as one of its perturbations
    direction = "lower"
    needs = frozenset({"perturbations"})

    def score(self, case: Case) -> dict[str, Tensor]:
        image = case.batch.image.float()

        def distance(rows: Tensor, perturbed: Tensor) -> Tensor:
            return torch.linalg.vector_norm(perturbed - image[rows], dim=(1, 2, 3))

        return {"value": per_perturbation(case, distance).double().mean(1)}


@dataclass(kw_only=True)
class SSIM(Metric):
    """Structural similarity of an image and its perturbations, mean over channels, windows and perturbations.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.3; Wang et al. (2004),
        https://doi.org/10.1109/TIP.2003.819861. POMELO states no settings, so they are scikit-image's defaults: data
        range 1, a uniform window of 7 pixels, sample covariances. As in scikit-image only windows inside the image
        count. Departures: none.
    Args:
        gaussian: weights of the window: False uniform, True the original's Gaussian (11 pixels, sigma 1.5, population
            covariances), with which window_px is not used. torchmetrics has these weights too, but also averages over
            mirrored borders.
        window_px: side of the uniform window, odd.
    Raises: ValueError when the window is even or larger than the image.
    """

    revision: ClassVar[int] = 2  # 1 counted the image itself as one of its perturbations
    direction = "higher"
    needs = frozenset({"perturbations"})

    gaussian: bool = False
    window_px: Annotated[int, Range(low=3)] = 7

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window_px % 2 == 0:
            raise ValueError(f"metric.window_px must be odd, got {self.window_px}")

    def score(self, case: Case) -> dict[str, Tensor]:
        # Variances do not change with an offset: values around 0 lose fewer digits in E[x^2] - E[x]^2
        image = case.batch.image.float() - 0.5
        size = 11 if self.gaussian else self.window_px
        if size > min(image.shape[-2:]):
            raise ValueError(f"metric SSIM has a window of {size} pixels, images are {tuple(image.shape[-2:])}")
        offset = torch.arange(size, dtype=torch.float64) - size // 2
        weight = torch.exp(-0.5 * (offset / 1.5) ** 2) if self.gaussian else torch.ones_like(offset)
        correction = 1.0 if self.gaussian else size**2 / (size**2 - 1)
        down, across = (window_matrix(weight / weight.sum(), n).to(image) for n in image.shape[-2:])

        def average(x: Tensor) -> Tensor:
            return down @ x @ across.T

        image_mean = average(image)
        image_variance = average(image.square()) - image_mean.square()

        def similarity(rows: Tensor, perturbed: Tensor) -> Tensor:
            perturbed = perturbed.sub_(0.5)
            ux, uy = image_mean[rows], average(perturbed)
            vx, vy = image_variance[rows], average(perturbed.square()) - uy.square()
            vxy = average(perturbed.mul(image[rows])) - ux * uy
            ux, uy = ux + 0.5, uy + 0.5
            c1, c2 = 0.01**2, 0.03**2
            structure = (2 * correction * vxy + c2) / (correction * (vx + vy) + c2)
            return ((2 * ux * uy + c1) / (ux.square() + uy.square() + c1) * structure).mean((1, 2, 3))

        return {"value": per_perturbation(case, similarity).double().mean(1)}


def window_matrix(weight: Tensor, n: int) -> Tensor:
    """The moving average of n pixels, windows inside only, as a matrix: [w] -> [n-w+1,n]."""
    position = torch.arange(n - len(weight) + 1)[:, None] + torch.arange(len(weight))
    return weight.new_zeros(len(position), n).scatter_(1, position, weight.expand(len(position), -1))


def per_perturbation(case: Case, measure: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A measure of every perturbation but the first, computed in chunks: [B,N-1].

    Args: measure: (index of each image int64 [m], perturbed images float32 [m,C,H,W]) -> [m].
    """
    image = case.perturbations.scored.image
    flat, n = image.flatten(0, 1), image.shape[1]

    def part(start: int, stop: int) -> Tensor:
        rows = torch.arange(start, stop, device=flat.device).div_(n, rounding_mode="floor")
        return measure(rows, Perturbations.dequantize(flat[start:stop]))

    return MicroBatches(max(1, VALUES_AT_ONCE // flat[0].numel())).rows(part, len(flat)).view(image.shape[:2])
