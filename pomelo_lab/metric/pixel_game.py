"""Pixel games: the pixels of an image change in the order of their importance, and the classifier is queried at several
steps.

A game ranks the pixels, composes the image of each step, queries probabilities and computes the area under them. Each
of these is a function, so that a metric reads like the description of its game.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.sampler.base import Filling

Masks = Callable[[Tensor, Tensor], Tensor]  # (image number int64 [M], step int64 [M]) -> bool [M,H,W], True = changed
Images = Callable[[Tensor, Tensor], Tensor]  # (image number int64 [M], step int64 [M]) -> [M,C,H,W]


def step_grid(n_px: int, step_px: int, bound: float = 1.0) -> tuple[Tensor, Tensor]:
    """Number and share of the changed pixels at each step, from none to a share of `bound`: int64 [T], float64 [T].

    The last share is `bound` exactly; where that lies within a pixel, the last number is the next whole pixel.
    """
    exact = bound * n_px
    last = round(exact) if abs(exact - round(exact)) < 1e-6 else math.ceil(exact)
    count = torch.cat([torch.arange(0, last, step_px), torch.tensor([last])])
    return count, (count.double() / n_px).clamp_max(bound)


def rank_pixels(importance: Tensor, ties: Literal["first", "last"] = "last") -> Tensor:
    """The position of each pixel in descending importance: [B,H,W] -> int32 [B,1,H,W], one order per image.

    Args: ties: which of equal pixels comes first, the first or the last in reading order.
    """
    flat = importance.flatten(1)
    order = (
        flat.argsort(dim=1, stable=True).flip(1)
        if ties == "last"
        else flat.argsort(dim=1, descending=True, stable=True)
    )
    return position_in(order).view(len(flat), 1, *importance.shape[1:])


def rank_in_orders(importance: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
    """The position of each pixel in descending importance, equal pixels in each of the given random orders.

    Shapes: importance [B,H,W], orders int64 [B,O,H*W] -> rank int32 [B,O,H,W], settled bool [B,H*W+1]: whether the
        first k pixels are the same set in every order (no tie across k).
    """
    value = importance.flatten(1)
    shuffled = value[:, None].expand(orders.shape).gather(2, orders)
    rank = position_in(orders.gather(2, shuffled.argsort(dim=2, descending=True, stable=True)))
    ordered = value.sort(1, descending=True).values
    ends = torch.ones_like(ordered[:, :1], dtype=torch.bool)
    settled = torch.cat([ends, ordered[:, :-1] > ordered[:, 1:], ends], 1)
    return rank.unflatten(2, importance.shape[1:]), settled


def position_in(order: Tensor) -> Tensor:
    """The inverse of permutations along the last axis: the position of each element."""
    position = torch.arange(order.shape[-1], dtype=torch.int32, device=order.device).expand(order.shape)
    return torch.empty_like(position, memory_format=torch.contiguous_format).scatter_(-1, order, position)


def changed_pixels(rank: Tensor, count: Tensor) -> Masks:
    """The masks of a game: at step t the first count[t] pixels of the order have changed.

    Shapes: rank [B,O,H,W], count int64 [T]. Steps are numbered through all orders: step t of order o is o * T + t.
    """
    count = count.to(rank.device)
    n_steps = len(count)
    return lambda row, step: rank[row, step.div(n_steps, rounding_mode="floor")] < count[step % n_steps][:, None, None]


def fill_steps(filling: Filling, changed: Masks, inserts: bool = False) -> Images:
    """The images of a game in which a filler replaces the changed pixels; with `inserts`, those that have not changed
    yet."""

    def images(row: Tensor, step: Tensor) -> Tensor:
        keep = changed(row, step) if inserts else ~changed(row, step)
        return filling(row, keep.to(filling.image), step)

    return images


def paste_steps(before: Tensor, after: Tensor, changed: Masks) -> Images:
    """The images of a game that leads from one image to another: changed pixels are those of `after`."""
    return lambda row, step: torch.where(changed(row, step)[:, None], after[row], before[row])


def ask(classifier: BlackBox, images: Images, row: Tensor, step: Tensor, target: Tensor | None = None) -> Tensor:
    """Queries the probabilities of the images at M steps. Images are composed when the classifier needs them.

    Args:
        row, step: the image number and the step, int64 [M].
        target: the class of each image; None = all classes.
    Shapes: -> float64 [M], or [M,K] without target.
    """
    return classifier.probability_of(
        lambda start, stop: images(row[start:stop], step[start:stop]), len(row), None if target is None else target[row]
    ).double()


def area_over_steps(curve: Tensor) -> Tensor:
    """Area under a curve by the trapezoidal rule over equal steps from 0 to 1: [B,T] -> [B]."""
    return (curve.sum(1) - (curve[:, 0] + curve[:, -1]) / 2) / (curve.shape[1] - 1)
