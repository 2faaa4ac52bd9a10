"""The coordinates of portraits, and the functions that build their shapes.

Only add, subtract, multiply, divide, sqrt, min, max, floor and comparisons are used. IEEE 754 defines their results, so
a pixel has the same bits in every batch, position, thread count and vector width. exp, sin and pow give no such
guarantee. Lengths are in face units: the head is 2 high, its centre is (0, 0), v points down to the chin.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def edge(distance: Tensor, px: Tensor) -> Tensor:
    """Coverage of the inside (distance < 0) by a pixel `px` wide."""
    return (0.5 - distance / px).clamp_(0, 1)


def ramp(x: Tensor, low: float, high: float) -> Tensor:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = ((x - low) * (1 / (high - low))).clamp_(0, 1)
    return t * t * (3 - 2 * t)


def bump(x: Tensor, width: float) -> Tensor:
    """Smooth bell of half-width `width`, 1 at 0, with bounded support."""
    t = (1 - (x * (1 / width)).square_()).clamp_(min=0)
    return t * t


def wave(x: Tensor) -> Tensor:
    """A smooth periodic wave in [-1, 1] of period 1 (parabolic arcs, no sine)."""
    t = (x - x.floor()).mul_(2).sub_(1)
    return 4 * t * (1 - t.abs())


def ring(k: Tensor, radius: Tensor | float) -> Tensor:
    """Distance-like value of an ellipse from its normalised radius k (1 on the outline)."""
    return (k - 1) * radius


def ellipse(x: Tensor, y: Tensor, rx: Tensor, ry: float) -> Tensor:
    """Distance to an ellipse, first order in its normalised radius: right also for flat ones."""
    nx, ny = x / rx, y / ry
    k = (nx * nx + ny * ny).sqrt()
    slope = ((nx / rx).square_() + (ny / ry).square_()).sqrt()
    return k * (k - 1) / slope.clamp(min=1e-3)


class Scene:
    """Factors of some people as [B,1,1] numbers, and the face coordinates of every pixel.

    Shapes: u, v [B,H,W] face coordinates (tilted); body_u [B,1,W], body_v [B,H,1] upright; px [B,1,1] pixel width.
    """

    def __init__(self, factors: Mapping[str, Tensor], size_px: int) -> None:
        self.factors = {
            k: (t if t.is_floating_point() else t.float())[:, None, None] for k, t in factors.items() if t.ndim == 1
        }
        self.code = {k: t for k, t in factors.items() if not t.is_floating_point()}
        device = factors["x"].device
        grid = (torch.arange(size_px, device=device, dtype=torch.float32) + 0.5) * (2 / size_px) - 1
        self.frame_x, self.frame_y = grid[None, None, :], grid[None, :, None]
        f = self.factors
        cosine = 1 / (1 + f["tilt"] * f["tilt"]).sqrt()
        sine = f["tilt"] * cosine
        self.body_u, self.body_v = (self.frame_x - f["x"]) / f["scale"], (self.frame_y - f["y"]) / f["scale"]
        self.u = self.body_u * cosine + self.body_v * sine
        self.v = self.body_v * cosine - self.body_u * sine
        self.abs_u = self.u.abs()
        self.px = (2 / size_px) / f["scale"]
        self.width = 0.73 + 0.07 * f["face_width"] + 0.03 * f["fullness"]  # half-width of the head

    def __getitem__(self, name: str) -> Tensor:
        return self.factors[name]

    def is_(self, name: str, state: int) -> Tensor:
        """1 where a categorical factor has that state: float [B,1,1]."""
        return (self.factors[name] == state).float()

    def pick(self, name: str, table: tuple) -> Tensor:
        """Reads a row (or number) of a table for each person: [B,1,1] or [B,k]."""
        rows = torch.tensor(table, dtype=torch.float32, device=self.u.device)[self.code[name]]
        return rows[:, None, None] if rows.ndim == 1 else rows

    def rows(self, chosen: Tensor) -> Scene:
        """The scene of some of the people (index [b]). Rare parts are drawn only for the people who have them."""
        part = object.__new__(Scene)
        part.factors = {k: t[chosen] for k, t in self.factors.items()}
        part.code = {k: t[chosen] for k, t in self.code.items()}
        part.frame_x, part.frame_y = self.frame_x, self.frame_y
        for name in ("body_u", "body_v", "u", "v", "abs_u", "px", "width"):
            setattr(part, name, getattr(self, name)[chosen])
        return part
