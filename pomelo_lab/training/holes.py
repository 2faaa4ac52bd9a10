"""Random holes for the training of in-painters. They are drawn on the CPU, so that every device gets the same holes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

N_STROKES, N_TURNS = 4, 5  # the largest number of strokes of a free-form hole, and the number of turns of a stroke
N_BOXES = 3  # the largest number of rectangles
GRID = 28  # the largest number of cells per side


def holes(images: Tensor, share: Mapping[str, float], rng: torch.Generator) -> Tensor:
    """Draws one hole for each image: bool [B,H,W], True = to be filled. No hole is empty.

    Args:
        share: the relative frequency of each kind. The kinds are freeform (strokes of a brush), box (one to three
            rectangles), superpixel (random regions of similar colour, as LIME removes them) and cell (random squares of
            a grid, as optimised masks have them).
    Random: all numbers come from `rng`. Their number does not depend on the shares.
    """
    n, _, height, width = images.shape
    kinds = {"freeform": freeform, "box": boxes, "superpixel": superpixels, "cell": cells}
    drawn = torch.stack([make(images.cpu(), rng) for make in kinds.values()], 1)
    weight = torch.tensor([float(share.get(kind, 0.0)) for kind in kinds])
    chosen = torch.multinomial(weight, n, replacement=True, generator=rng)
    hole = drawn[torch.arange(n), chosen]
    hole[~hole.flatten(1).any(1), height // 2, width // 2] = True
    return hole.to(images.device)


def grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """The coordinates of the pixel centres, as fractions of height and width: [H,1], [1,W]."""
    return (torch.arange(height)[:, None] + 0.5) / height, (torch.arange(width)[None] + 0.5) / width


def freeform(images: Tensor, rng: torch.Generator) -> Tensor:
    """Draws holes of one to four brush strokes (Yu et al. 2019, algorithm 1).

    A stroke is a chain of straight pieces with round ends. Its width is at most about a quarter of the image side.
    """
    n, _, height, width = images.shape
    y, x = grid(height, width)
    start = torch.rand(n, N_STROKES, 1, 2, generator=rng)
    angle = 2 * torch.pi * torch.rand(n, N_STROKES, 1, generator=rng)
    turn = (torch.rand(n, N_STROKES, N_TURNS, generator=rng) - 0.5) * 2.5
    length = 0.1 + 0.25 * torch.rand(n, N_STROKES, N_TURNS, generator=rng)
    heading = angle + turn.cumsum(2)
    corners = torch.cat(
        [start, start + (torch.stack([heading.sin(), heading.cos()], -1) * length[..., None]).cumsum(2)], 2
    )
    radius = 0.03 + 0.1 * torch.rand(n, N_STROKES, generator=rng)
    used = torch.arange(N_STROKES) <= torch.randint(N_STROKES, (n, 1), generator=rng)
    hole = torch.zeros(n, height, width, dtype=torch.bool)
    for piece in range(N_TURNS):  # each pass handles one piece of all strokes of all images
        (ay, ax), (by, bx) = (corners[:, :, piece + i].unbind(-1) for i in (0, 1))
        dy, dx = (by - ay)[..., None, None], (bx - ax)[..., None, None]
        py, px = y - ay[..., None, None], x - ax[..., None, None]
        along = ((py * dy + px * dx) / (dy**2 + dx**2)).clamp(0, 1)
        near = (py - along * dy) ** 2 + (px - along * dx) ** 2 < (radius**2)[..., None, None]
        hole |= (near & used[..., None, None]).any(1)
    return hole


def boxes(images: Tensor, rng: torch.Generator) -> Tensor:
    """Draws holes of one to three rectangles whose sides have 15 to 65 % of the image's sides."""
    n, _, height, width = images.shape
    y, x = grid(height, width)
    side = 0.15 + 0.5 * torch.rand(n, N_BOXES, 2, generator=rng)
    corner = torch.rand(n, N_BOXES, 2, generator=rng) * (1 - side)
    used = torch.arange(N_BOXES) <= torch.randint(N_BOXES, (n, 1), generator=rng)
    (top, left), (bottom, right) = corner[..., None, None].unbind(2), (corner + side)[..., None, None].unbind(2)
    return ((y >= top) & (y < bottom) & (x >= left) & (x < right) & used[..., None, None]).any(1)


def superpixels(images: Tensor, rng: torch.Generator) -> Tensor:
    """Draws holes of random superpixels. Their expected share is 10 to 90 %.

    An image has 16 to 64 superpixels. They come from one assignment step of SLIC (Achanta et al. 2012) with jittered
    seeds.
    """
    n, _, height, width = images.shape
    y, x = grid(height, width)
    side = torch.randint(4, 9, (n, 1, 1), generator=rng)
    seeds = (
        (torch.arange(8)[None, :, None] + torch.rand(n, 8, 8, generator=rng)) / side,
        (torch.arange(8)[None, None] + torch.rand(n, 8, 8, generator=rng)) / side,
    )
    exists = ((torch.arange(8)[:, None] < side) & (torch.arange(8)[None] < side)).flatten(1)
    sy, sx = (coordinate.flatten(1).clamp(0, 1 - 1e-4) for coordinate in seeds)
    color = images[torch.arange(n)[:, None], :, (sy * height).long(), (sx * width).long()]  # [n,64,C]
    away = torch.cdist(images.flatten(2).transpose(1, 2).float(), color.float()).square()  # [n,H*W,64]
    pixel_y, pixel_x = (coordinate.expand(height, width).flatten()[None, :, None] for coordinate in (y, x))
    apart = (pixel_y - sy[:, None]) ** 2 + (pixel_x - sx[:, None]) ** 2
    label = (away + 4 * apart).masked_fill(~exists[:, None], torch.inf).argmin(2)
    dropped = torch.rand(n, 64, generator=rng) < 0.1 + 0.8 * torch.rand(n, 1, generator=rng)
    return dropped.gather(1, label).view(n, height, width)


def cells(images: Tensor, rng: torch.Generator) -> Tensor:
    """Draws holes of random cells of a grid with 4 to 28 cells per side. Their expected share is 5 to 95 %."""
    n, _, height, width = images.shape
    per_side = torch.randint(4, GRID + 1, (n, 1), generator=rng)
    dropped = torch.rand(n, GRID, GRID, generator=rng) < 0.05 + 0.9 * torch.rand(n, 1, 1, generator=rng)
    row, column = ((torch.arange(size) * per_side).div(size, rounding_mode="floor") for size in (height, width))
    return dropped[torch.arange(n)[:, None, None], row[:, :, None], column[:, None]]
