"""Pixel games: the pixels of an image change in the order of their importance, and the classifier is queried at several
steps.

A game ranks the pixels, composes the image of each step, queries probabilities and computes the area under them. Each
of these is a function, so that a metric reads like the description of its game.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from pomelo_lab.batching import runs
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


def rank_in_orders(
    importance: Tensor, count: Tensor, n_orders: int, draw: Callable[[list[int]], Tensor]
) -> tuple[Tensor, Tensor]:
    """The position of each pixel in descending importance, equal pixels in each of several random orders.

    Orders are drawn only for images in which a step cuts through equal pixels. The ranks of all other images are those
    of one order, whose steps change the same pixels as those of any other order.

    Args:
        count: numbers of changed pixels at the steps, int64 [T].
        draw: the random orders of some images, given by their numbers: int64 [b,O,H*W].
    Shapes: importance [B,H,W] -> rank int32 [B,O,H,W], settled bool [B,T]: whether the first count[t] pixels are the
        same set in every order (no tie across them). Both are on the CPU.
    Cost: 0.2 ms of one core per image of 64x64 without ties, 4 ms with ties and ten orders, mostly for the draws.
    """
    value = importance.flatten(1).cpu()
    ordered, first = value.sort(dim=1, descending=True, stable=True)
    apart = ordered[:, :-1] > ordered[:, 1:]
    ends = torch.ones_like(apart[:, :1])
    settled = torch.cat([ends, apart, ends], 1)[:, count.cpu()]
    rank = position_in(first)[:, None].expand(-1, n_orders, -1)
    tied = (~settled.all(1)).nonzero()[:, 0].tolist()
    if tied:
        # the number of larger values is the same for equal pixels
        level = torch.cat([torch.zeros_like(first[:, :1]), apart.cumsum(1)], 1)[tied]
        level = torch.empty_like(level).scatter_(1, first[tied], level)
        orders = draw(tied).cpu()
        shuffled = level[:, None].expand(orders.shape).gather(2, orders)
        rank = rank.contiguous()
        rank[tied] = position_in(orders.gather(2, sort_levels(shuffled)))
    return rank.unflatten(2, importance.shape[1:]), settled


def sort_levels(level: Tensor) -> Tensor:
    """The stable order of non-negative integers along the last axis: int64.

    numpy sorts integers of 16 bits by their digits, ten times faster than torch sorts them.
    """
    narrow = np.uint16 if level.numel() == 0 or int(level.max()) < 2**16 else np.int64
    return torch.from_numpy(level.numpy().astype(narrow).argsort(-1, kind="stable"))


def position_in(order: Tensor) -> Tensor:
    """The inverse of permutations along the last axis: the position of each element."""
    position = torch.arange(order.shape[-1], dtype=torch.int32, device=order.device).expand(order.shape)
    return torch.empty_like(position, memory_format=torch.contiguous_format).scatter_(-1, order, position)


def changed_pixels(rank: Tensor, count: Tensor) -> Masks:
    """The masks of a game: at step t the first count[t] pixels of the order have changed.

    Shapes: rank [B,O,H,W], count int64 [T]. Steps are numbered through all orders: step t of order o is o * T + t.
    """
    count, (n_orders, n_steps) = count.to(rank), (rank.shape[1], len(count))
    orders = rank.flatten(0, 1)

    def masks(row: Tensor, step: Tensor) -> Tensor:
        least = count[step % n_steps][:, None, None]
        changed = rank.new_empty(len(row), *rank.shape[2:], dtype=torch.bool)
        for order, rows in runs(row * n_orders + step.div(n_steps, rounding_mode="floor")):
            torch.lt(orders[order], least[rows], out=changed[rows])
        return changed

    return masks


def fill_steps(filling: Filling, changed: Masks, inserts: bool = False) -> Images:
    """The images of a game in which a filler replaces the changed pixels; with `inserts`, those that have not changed
    yet."""
    if filling.base is not None:
        before, after = (filling.base, filling.image) if inserts else (filling.image, filling.base)
        return paste_steps(before, after, changed)

    def images(row: Tensor, step: Tensor) -> Tensor:
        keep = changed(row, step) if inserts else ~changed(row, step)
        return filling(row, keep.to(filling.image), step)

    return images


def paste_steps(before: Tensor, after: Tensor, changed: Masks) -> Images:
    """The images of a game that leads from one image to another: changed pixels are those of `after`."""

    def images(row: Tensor, step: Tensor) -> Tensor:
        masks, pasted = changed(row, step)[:, None], before.new_empty(len(row), *before.shape[1:])
        for image, rows in runs(row):
            torch.where(masks[rows], after[image], before[image], out=pasted[rows])
        return pasted

    return images


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
