"""Procedural textures: images of another distribution for out-of-distribution checks, without a download."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.config.hints import Count, Natural
from pomelo_lab.dataset.base import Dataset, Split
from pomelo_lab.dataset.image_file import checked_indices, to_unit
from pomelo_lab.types import Batch, to_8_bits

LATTICE = 16  # cells per side of the finest random lattice
N_BLOBS = 12


@dataclass(kw_only=True)
class Texture(Dataset):
    """Stripes, checkers, blobs, gradients, cloudy noise and mosaics in random colours; image i is of kind i modulo 6;
    no labels.

    Source: own; the noise is lattice noise in octaves after Perlin, "An image synthesizer", SIGGRAPH (1985).
        Departures: values, not gradients, are interpolated (cubic).
    Args:
        n: number of images in each split.
    Shapes: a texture is a field [B,H,W] in [0,1] that runs through three random colours [B,3].
    Random: a generator per (seed, split, index), drawn before rendering; the same picture, sharper, at a larger
        size_px.
    """

    provides: ClassVar[frozenset[str]] = frozenset()

    split: Split = "test"
    size_px: Count = 64
    n: Count = 1000
    seed: Natural = 0

    class_names = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size_px, self.size_px

    def __len__(self) -> int:
        return self.n

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = checked_indices(indices, self.n)
        names = self.image_ids(rows)
        index = torch.tensor(rows, dtype=torch.long)
        streams = RandomStreams(self.seed)
        knob = streams.uniform(names, "dataset.texture.knob", 32).double()
        lattice = streams.uniform(names, "dataset.texture.lattice", 4, LATTICE, LATTICE).double()
        # float64 up to the rounding to 8 bits, so that vector and scalar kernels cannot disagree on a pixel
        field = torch.zeros(len(rows), self.size_px, self.size_px, dtype=torch.float64)
        for kind, render in enumerate(KINDS.values()):
            chosen = (index % len(KINDS) == kind).nonzero().flatten()
            if len(chosen):
                field[chosen] = render(knob[chosen], lattice[chosen], self.size_px)
        image = to_unit(to_8_bits(apply_colours(field, lattice[:, 3, 0, :9].unflatten(1, (3, 3)))))
        return Batch(image=image, label=torch.full((len(rows),), -1), image_id=names, index=index)

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(f"texture-{self.split}-{row:05d}" for row in checked_indices(indices, self.n))

    def digest(self) -> str:
        pixels = self.batch(range(min(self.n, len(KINDS)))).image.numpy().tobytes()
        return hashlib.sha256(pixels + str(self.n).encode()).hexdigest()[:16]


def apply_colours(field: Tensor, colour: Tensor) -> Tensor:
    """Maps a field [B,H,W] in [0,1] through three colours [B,3 colours,3 channels] -> [B,3,H,W]."""
    first, second, third = (colour[:, i, :, None, None] for i in range(3))
    t = field[:, None] * 2
    return torch.where(t < 1, first + t * (second - first), second + (t - 1) * (third - second))


def rotate_axes(knob: Tensor, size_px: int) -> tuple[Tensor, Tensor]:
    """Two orthogonal coordinates [B,H,W] in [-0.71,0.71], rotated by a random angle (knob 0)."""
    line = (torch.arange(size_px, dtype=torch.float64) + 0.5) / size_px - 0.5
    y, x = torch.meshgrid(line, line, indexing="ij")
    angle = knob[:, 0, None, None] * math.pi
    return angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x


def scale_knob(knob: Tensor, column: int, low: float, high: float) -> Tensor:
    """Scales one knob to [low, high): [B,1,1]."""
    return low + (high - low) * knob[:, column, None, None]


def wave(x: Tensor, n_periods: Tensor, phase: Tensor, sharpness: Tensor) -> Tensor:
    """A sine in [-1,1]; with sharpness > 1 its flanks steepen towards a square wave."""
    return (sharpness * torch.sin(2 * math.pi * (n_periods * x + phase))).clamp(-1, 1)


def stripes(knob: Tensor, lattice: Tensor, size_px: int) -> Tensor:
    """Straight or slightly wavy stripes, 2 to 8 periods, soft or hard."""
    u, v = rotate_axes(knob, size_px)
    bent = u + scale_knob(knob, 1, 0, 0.06) * torch.sin(2 * math.pi * scale_knob(knob, 2, 1, 3) * v)
    return 0.5 + 0.5 * wave(bent, scale_knob(knob, 3, 2, 8), scale_knob(knob, 4, 0, 1), scale_knob(knob, 5, 1, 6))


def checkers(knob: Tensor, lattice: Tensor, size_px: int) -> Tensor:
    """A rotated checkerboard with 1.5 to 5 periods per side."""
    u, v = rotate_axes(knob, size_px)
    periods, sharpness = scale_knob(knob, 1, 1.5, 5), scale_knob(knob, 2, 3, 10)
    return 0.5 + 0.5 * wave(u, periods, scale_knob(knob, 3, 0, 1), sharpness) * wave(
        v, periods, scale_knob(knob, 4, 0, 1), sharpness
    )


def blobs(knob: Tensor, lattice: Tensor, size_px: int) -> Tensor:
    """Twelve Gaussian bumps of random place and size, melted together."""
    line = (torch.arange(size_px, dtype=torch.float64) + 0.5) / size_px
    spot = lattice[:, :3].flatten(2)[..., :N_BLOBS]  # [B,3,K]
    radius = 0.04 + 0.10 * spot[:, 2]
    dx = line - spot[:, 0, :, None]
    dy = line - spot[:, 1, :, None]
    square = (dx[:, :, None, :] ** 2 + dy[:, :, :, None] ** 2) / (2 * radius[..., None, None] ** 2)
    height = torch.exp(-square).sum(1)
    return torch.sigmoid(scale_knob(knob, 1, 4, 16) * (height - 0.5))


def gradients(knob: Tensor, lattice: Tensor, size_px: int) -> Tensor:
    """A linear ramp mixed with a radial one about a random centre."""
    u, v = rotate_axes(knob, size_px)
    radial = torch.hypot(u - scale_knob(knob, 1, -0.4, 0.4), v - scale_knob(knob, 2, -0.4, 0.4))
    mix = scale_knob(knob, 3, 0, 1)
    return ((1 - mix) * (0.5 + 0.75 * u) + mix * radial * 1.3).clamp(0, 1)


def clouds(knob: Tensor, lattice: Tensor, size_px: int) -> Tensor:
    """Four octaves of lattice noise; the roughness is random."""
    roughness = scale_knob(knob, 1, 0.35, 0.9)
    total = torch.zeros(len(knob), size_px, size_px, dtype=torch.float64)
    for octave, cells in enumerate((3, 5, 9, LATTICE)):
        grid = lattice[:, octave, None, :cells, :cells]
        total += (
            roughness**octave * F.interpolate(grid, size=(size_px, size_px), mode="bicubic", align_corners=True)[:, 0]
        )
    low, high = total.amin((1, 2), keepdim=True), total.amax((1, 2), keepdim=True)
    return (total - low) / (high - low).clamp_min(1e-6)


def mosaic(knob: Tensor, lattice: Tensor, size_px: int) -> Tensor:
    """A rotated grid of 3 to 10 flat random tiles per side."""
    u, v = rotate_axes(knob, size_px)
    tiles = scale_knob(knob, 1, 3, 10)
    column, row = (((c + 0.71) * tiles).floor().long().clamp(0, LATTICE - 1) for c in (u, v))
    return lattice[:, 1].flatten(1).gather(1, (row * LATTICE + column).flatten(1)).view_as(u)


KINDS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "stripes": stripes,
    "checkers": checkers,
    "blobs": blobs,
    "gradients": gradients,
    "clouds": clouds,
    "mosaic": mosaic,
}
