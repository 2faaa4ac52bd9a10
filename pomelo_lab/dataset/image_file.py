"""Image and mask files to tensors on the 8-bit grid, with errors that name the file and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})

Box = tuple[float, float, float, float]  # left, top, right, bottom as fractions of the width and height


def missing_file(what: str, looked_at: Path | Sequence[Path], layout: str, source: str | None = None) -> FileNotFoundError:
    """The error for a file that is not there: the paths looked at, the layout expected, where to get it.

    Args:
        what: what is missing, in words ("the attribute list of CelebA").
        looked_at: the path, or all places that were tried.
        layout: the expected layout on disk, one path per line.
        source: who gives the data out; None for the user's own files.
    """
    places = [looked_at] if isinstance(looked_at, Path) else list(looked_at)
    more = f" and {len(places) - 3} more places" if len(places) > 3 else ""
    lines = [f"{what} not found: looked for {', '.join(map(str, places[:3]))}{more}", "expected layout:"]
    lines += [f"  {line}" for line in layout.strip().splitlines()]
    if source:
        lines.append(f"nothing is downloaded by pomelo_lab; get it from {source}")
    return FileNotFoundError("\n".join(lines))


def first_existing(what: str, candidates: Iterable[Path], layout: str, source: str | None = None) -> Path:
    """The first path that exists, else the missing-file error over all of them."""
    tried = list(candidates)
    for path in tried:
        if path.exists():
            return path
    raise missing_file(what, tried, layout, source)


def open_image(path: Path, mode: str = "RGB") -> Image:
    """Decode a file completely into a PIL mode ("RGB", "L"). Files of 16 bits per value are brought to 8 bits first.

    EXIF orientation is not applied (as in torchvision), so that masks and images share one frame.

    Raises: FileNotFoundError, or ValueError naming the file when it is truncated or no image.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            file.load()
            if file.mode.startswith("I"):
                high = np.asarray(file).astype(np.int64) // 257
                return Image.fromarray(high.clip(0, 255).astype(np.uint8)).convert(mode)
            return file.convert(mode)
    except FileNotFoundError:
        raise FileNotFoundError(f"image file not found: {path}") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be decoded ({error}): it is truncated or no image; remove or replace this file") from None


def centre_box(width: int, height: int, crop_px: int | None = None) -> Box:
    """The centred square of `crop_px` pixels (None: the shorter side) as fractions, so that masks of another size can share it.

    Raises: ValueError when the crop is larger than the image.
    """
    side = min(width, height) if crop_px is None else crop_px
    if side > min(width, height):
        raise ValueError(f"crop_px is {side}, larger than an image of {width}x{height} pixels")
    left, top = (width - side) // 2, (height - side) // 2
    return left / width, top / height, (left + side) / width, (top + side) / height


def read_image(path: Path, size_px: int, crop_px: int | None = None, channels: int = 3) -> tuple[Tensor, Box, tuple[int, int]]:
    """Decode, centre-crop to a square and resize with antialiasing (PIL's bilinear).

    Returns: uint8 [C,size_px,size_px]; the box that was cut, for `read_mask`; the (width, height) of the file.
    """
    from PIL.Image import Resampling

    image = open_image(path, "RGB" if channels == 3 else "L")
    try:
        box = centre_box(*image.size, crop_px)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    # crop first: resize(box=...) would let the filter look at pixels beyond the edge of the crop
    cut = image.crop(tuple(map(int, in_pixels(box, image.size)))).resize((size_px, size_px), Resampling.BILINEAR)
    values = torch.from_numpy(np.array(cut))
    return (values.permute(2, 0, 1) if values.ndim == 3 else values[None]).contiguous(), box, image.size


def read_mask(path: Path, size_px: int, box: Box = (0.0, 0.0, 1.0, 1.0), of_size: tuple[int, int] | None = None) -> Tensor:
    """A mask file as bool [size_px,size_px]: non-zero is inside; nearest neighbour, cut like its image.

    Args:
        box: the crop of the image, from `read_image`.
        of_size: (width, height) of the image; the mask may have another resolution but not another shape.

    Raises: ValueError when the aspect ratio differs from the image's by more than one pixel.
    """
    from PIL.Image import Resampling

    mask = open_image(path, "L")
    if of_size is not None:
        (w, h), (mw, mh) = of_size, mask.size
        if abs(mw * h - mh * w) > max(w, h, mw, mh):
            raise ValueError(f"{path} has {mw}x{mh} pixels, its image {w}x{h}: a mask must have the shape of its image")
    cut = mask.resize((size_px, size_px), Resampling.NEAREST, box=in_pixels(box, mask.size))
    return torch.from_numpy(np.array(cut)) > 0


def in_pixels(box: Box, size: tuple[int, int]) -> Box:
    """A box of fractions in pixels of an image of (width, height); whole numbers stay whole."""
    edges = [fraction * extent for fraction, extent in zip(box, (*size, *size), strict=True)]
    return tuple(float(round(e)) if abs(e - round(e)) < 1e-6 else e for e in edges)


def to_unit(image: Tensor) -> Tensor:
    """uint8 -> float32 k/255 in [0,1]."""
    return image.to(torch.float32).div_(255)


def checked(indices: Sequence[int], n: int) -> list[int]:
    """Positions within a data set of n images as plain integers. Raises: IndexError naming the first one outside."""
    rows = [int(i) for i in indices]
    for row in rows:
        if not 0 <= row < n:
            raise IndexError(f"index {row} is outside a data set of {n} images")
    return rows
