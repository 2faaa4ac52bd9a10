"""Rectangles of a map that depend on a changed square of the image, and how they are cut out of the map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spans:
    """Intervals of one length on an axis of a map, one for each position of the square on that axis of the image.

    start: int64 [P], the first position of each interval.
    length: of all intervals.
    size: of the axis.
    """

    start: Tensor
    length: int
    size: int

    @classmethod
    def covering(cls, first: Tensor, last: Tensor, size: int) -> Spans:
        """Intervals inside the axis, as short as one length for all allows, that contain those from first to last."""
        first, last = first.clamp(0, size - 1), last.clamp(0, size - 1)
        length = int((last - first).max()) + 1
        return cls(first.clamp(max=size - length), length, size)

    @property
    def last(self) -> Tensor:
        return self.start + self.length - 1

    def join(self, other: Spans) -> Spans:
        """Intervals that contain those of both."""
        return Spans.covering(torch.minimum(self.start, other.start), torch.maximum(self.last, other.last), self.size)

    def whole(self) -> Spans:
        """The whole axis at every position."""
        return Spans(torch.zeros_like(self.start), self.size, self.size)

    def equals(self, other: Spans) -> bool:
        return self.length == other.length and torch.equal(self.start, other.start)

    def pixels(self, position: Tensor) -> Tensor:
        """The pixels of the intervals at M positions: int64 [M,length]."""
        return self.start[position, None] + torch.arange(self.length, device=position.device)


Region = tuple[Spans, Spans]  # rows and columns of a rectangle


def region_share(region: Region) -> float:
    """The share of a map that a region covers."""
    return region[0].length * region[1].length / (region[0].size * region[1].size)


@dataclass(frozen=True)
class Places:
    """Where M images are changed.

    row: int64 [M], the original of each image, as an index of clean maps.
    top, left: int64 [M], the first row and column of the changed square.
    """

    row: Tensor
    top: Tensor
    left: Tensor


def map_rows(maps: Tensor) -> Tensor:
    """Clean maps as one row of channels per pixel, then a row of zeros and one of minus infinity: [B,C,H,W] ->
    [B*H*W+2,C]."""
    rows = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
    outside = torch.tensor([0.0, -torch.inf], device=rows.device, dtype=rows.dtype)
    return torch.cat([rows, outside[:, None].expand(-1, rows.shape[1])])


@dataclass(frozen=True)
class Crop:
    """Cuts a region out of a map of which another region was computed anew and the rest is as in the clean map.

    own:    the region that was computed anew.
    wanted: the region to cut out, which may reach beyond the map.
    fill:   the value beyond the map, 0 or minus infinity.
    """

    own: Region
    wanted: Region
    fill: float = 0.0

    @property
    def changes_nothing(self) -> bool:
        """Whether the region to cut out is the one that was computed."""
        return all(own.equals(wanted) for own, wanted in zip(self.own, self.wanted, strict=True))

    def __call__(self, value: Tensor, clean: Tensor, places: Places) -> Tensor:
        """The region with M images' values.

        Shapes: value [M,C,h,w] of the own region, clean as from `map_rows` -> [M,C,h',w'] in channels-last layout.
        """
        (y, x), (own_y, own_x) = self.wanted, self.own
        rows, columns = y.pixels(places.top), x.pixels(places.left)
        inside = crossed((rows >= 0) & (rows < y.size), (columns >= 0) & (columns < x.size))
        source = (places.row * (y.size * x.size))[:, None, None] + rows[:, :, None] * x.size + columns[:, None]
        source = torch.where(inside, source, len(clean) - (1 if self.fill else 2)).flatten()
        cut = clean.index_select(0, torch.cat([source, source.new_zeros(1)]))  # the last row is no pixel
        m, area = len(value), y.length * x.length
        rows = own_y.pixels(places.top) - y.start[places.top, None]
        columns = own_x.pixels(places.left) - x.start[places.left, None]
        inside = crossed((rows >= 0) & (rows < y.length), (columns >= 0) & (columns < x.length))
        number = torch.arange(m, device=rows.device)[:, None, None] * area
        goal = torch.where(inside, number + rows[:, :, None] * x.length + columns[:, None], m * area)
        cut.index_copy_(0, goal.flatten(), value.permute(0, 2, 3, 1).reshape(-1, value.shape[1]))
        return cut[:-1].view(m, y.length, x.length, -1).permute(0, 3, 1, 2)


def crossed(rows: Tensor, columns: Tensor) -> Tensor:
    """Whether both hold: bool [M,h], bool [M,w] -> bool [M,h,w]."""
    return rows[:, :, None] & columns[:, None]


def cut_out(images: Tensor, region: Region, places: Places) -> Tensor:
    """The region of each of M images: [M,C,H,W] -> [M,C,h,w]."""
    rows, columns = region[0].pixels(places.top), region[1].pixels(places.left)
    number = torch.arange(len(images), device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
