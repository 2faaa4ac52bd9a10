"""Reads image and mask files as tensors on the 8-bit grid; errors name the file and the remedy."""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pomelo_lab.dataset.file_kind import what_it_is
from pomelo_lab.dataset.pixel_values import check_high_bytes, eight_bits, flattened

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

LARGEST = 2**26  # pixels (8192 x 8192); larger images are reduced by a whole number
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"})

ORIENTATION = 274  # EXIF tag of the camera's orientation
_warned: set[str] = set()

Box = tuple[float, float, float, float]  # left, top, right, bottom as fractions of the width and height


def missing_file(
    what: str, looked_at: Path | Sequence[Path], layout: str, source: str | None = None
) -> FileNotFoundError:
    """The error for a missing file: the paths that were tried, the expected layout, and where to get the files.

    Args:
        what: what is missing, in words ("the attribute list of CelebA").
        looked_at: the path, or all paths that were tried.
        layout: the expected layout on disk, one path per line.
        source: who publishes the data; None for the user's files.
    """
    paths = [looked_at] if isinstance(looked_at, Path) else list(looked_at)
    more = f" and {len(paths) - 3} more places" if len(paths) > 3 else ""
    lines = [f"{what} not found: looked for {', '.join(map(str, paths[:3]))}{more}", "expected layout:"]
    lines += [f"  {line}" for line in layout.strip().splitlines()]
    if source:
        lines.append(f"nothing is downloaded by pomelo_lab; get it from {source}")
    return FileNotFoundError("\n".join(lines))


def first_existing(what: str, candidates: Iterable[Path], layout: str, source: str | None = None) -> Path:
    """The first path that exists. Raises: FileNotFoundError naming all of them, see `missing_file`."""
    tried = list(candidates)
    for path in tried:
        if path.exists():
            return path
    raise missing_file(what, tried, layout, source)


@functools.cache
def warn_once(text: str) -> None:
    """Logs a warning once in a process."""
    log.warning("%s", text)


def warn_about_first(path: Path, text: str) -> None:
    """Logs a warning about the first file to which it applies."""
    if text not in _warned:
        _warned.add(text)
        log.warning("%s %s", path, text)


def open_image(
    path: Path, mode: str = "RGB", value_range: Sequence[float] | None = None, background: float | None = None
) -> Image:
    """Decodes a file completely into a PIL mode ("RGB", "L").

    EXIF orientation is not applied (as in torchvision), so that masks and images share one frame; a warning reports it
    once. TIFF files are the exception, because Pillow rotates them. Images of more than LARGEST pixels are reduced by a
    whole number. Of several pages the first is read.

    Args:
        value_range: the values of black and white in files of more than 8 bits per value; None = as the format states
            (`stated_range`).
        background: the gray level in [0,1] behind transparent parts; None = a file with such parts is refused.
    Raises: FileNotFoundError. ValueError, which names the file, when it is not an image, is too large, or its values
        are ambiguous.
    """
    return open_sized(path, mode, value_range, background)[0]


def open_sized(
    path: Path, mode: str, value_range: Sequence[float] | None = None, background: float | None = None
) -> tuple[Image, tuple[int, int]]:
    """Reads the image as `open_image` does, and the (width, height) of the file, which is larger when the image was
    reduced."""
    file, full, raw = decode(path, reduced=True)
    file = flattened(file, path, background)
    if file.mode.startswith(("I", "F")):
        file = eight_bits(file, path, value_range)
    elif ";16" in raw:
        check_high_bytes(file, path, value_range)
    image = file if file.mode == mode else file.convert(mode)
    if (factor := reduction(image.size)) > 1:
        image = image.reduce(factor)
    if image.size != full:
        (w, h), limit = full, f"{LARGEST / 1e6:.0f} million"
        warn_once(
            f"{path} has {w}x{h} pixels, images of more than {limit} are read reduced: here "
            f"{image.width}x{image.height}"
        )
    return image, full


def reduction(size: tuple[int, int]) -> int:
    """The whole number by which both sides are divided so that an image has at most LARGEST pixels."""
    return math.ceil(math.sqrt(size[0] * size[1] / LARGEST))


def decode(path: Path, reduced: bool = False) -> tuple[Image, tuple[int, int], str]:
    """The pixels of a file in its own mode, its (width, height), and Pillow's raw mode, in which they are stored.

    Args: reduced: JPEGs of more than LARGEST pixels may be decoded at a half, a quarter or an eighth of their sides.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Pillow raises an error above twice its limit
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                if file.format == "TIFF" and file.n_frames > 1:
                    warn_about_first(path, "has several pages: the first is read, also of further such files")
                full, raw = file.size, str(file.tile[0][3]) if getattr(file, "tile", None) else ""
                if reduced and (factor := reduction(full)) > 1:
                    file.draft(None, (full[0] // factor, full[1] // factor))
                file.load()
                if file.format != "TIFF" and file.getexif().get(ORIENTATION, 1) not in (0, 1):
                    warn_about_first(
                        path,
                        "is stored rotated (EXIF): it is read as it is stored, others too; save it "
                        "upright if that is not meant",
                    )
                return file, full, raw
    except FileNotFoundError:
        raise FileNotFoundError(f"image file not found: {path}") from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{path} is too large to be read safely ({error}): scale it down or cut it into tiles"
        ) from None
    except UnidentifiedImageError:
        raise ValueError(f"{path} cannot be decoded, it is {what_it_is(path)}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} cannot be decoded ({error}), it is truncated or damaged: remove or replace this file"
        ) from None


def open_mask(path: Path) -> Image:
    """Reads a mask file as a gray image, 255 where its value is not 0. All modes are accepted: bits, gray values of any
    width, colours, indices of a palette.

    Raises: ValueError, which names the file, when the mask is ambiguous: a palette whose colour 0 is not black,
        transparent parts, noise of JPEG.
    """
    from PIL import Image

    file, _, _ = decode(path)
    values = np.asarray(file)
    if file.mode in ("CMYK", "LAB", "HSV", "YCbCr"):
        raise ValueError(f"{path} is a mask with colours of mode {file.mode}: save it as a gray PNG, non-zero = inside")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(
            f"{path} holds values that are not finite (NaN or infinite): a mask has 0 outside and other numbers inside"
        )
    if file.format == "JPEG" and ((values > 0) & (values < 255)).any():
        raise ValueError(
            f"{path} is a mask in JPEG, which changes zeros to small values around every edge: save it as PNG"
        )
    has_alpha = file.mode in ("LA", "PA", "RGBA", "La", "RGBa")
    inside = (values[..., :-1] if has_alpha else values) != 0
    inside = inside.any(-1) if inside.ndim == 3 else inside
    if file.mode == "P" and (inside != np.asarray(file.convert("RGB")).any(-1)).any():
        raise ValueError(
            f"{path} is a mask with a palette whose number 0 and whose black are not the same: save it as "
            f"a gray PNG, non-zero = inside"
        )
    if has_alpha and (inside & (values[..., -1] == 0)).any():
        raise ValueError(
            f"{path} is a mask with transparent parts that are not 0: save it as a gray PNG, non-zero = inside"
        )
    return Image.fromarray(np.where(inside, 255, 0).astype(np.uint8))


def centre_box(width: int, height: int, crop_px: int | None = None) -> Box:
    """The centred square of `crop_px` pixels (None: the shorter side) as fractions, so that masks of another size can
    share it.

    Raises: ValueError when the crop is larger than the image.
    """
    side = min(width, height) if crop_px is None else crop_px
    if side > min(width, height):
        raise ValueError(f"crop_px is {side}, larger than an image of {width}x{height} pixels")
    left, top = (width - side) // 2, (height - side) // 2
    return left / width, top / height, (left + side) / width, (top + side) / height


def read_image(
    path: Path,
    size_px: int,
    crop_px: int | None = None,
    channels: int = 3,
    value_range: Sequence[float] | None = None,
    background: float | None = None,
) -> tuple[Tensor, Box, tuple[int, int]]:
    """Decodes, crops to the centred square and resizes with antialiasing (PIL's bilinear).

    Returns: uint8 [C,size_px,size_px]; the box of the crop, for `read_mask`; the (width, height) of the file.
    """
    from PIL.Image import Resampling

    image, full = open_sized(path, "RGB" if channels == 3 else "L", value_range, background)
    try:
        box = centre_box(*full, crop_px)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    # crop first, because the filter of resize(box=...) would read pixels outside the crop
    cut = image.crop(tuple(map(int, in_pixels(box, image.size)))).resize((size_px, size_px), Resampling.BILINEAR)
    values = torch.from_numpy(np.array(cut))
    return (values.permute(2, 0, 1) if values.ndim == 3 else values[None]).contiguous(), box, full


def read_mask(
    path: Path, size_px: int, box: Box = (0.0, 0.0, 1.0, 1.0), of_size: tuple[int, int] | None = None
) -> Tensor:
    """Reads a mask file as bool [size_px,size_px]: non-zero is inside; nearest neighbour, cropped like its image.

    Args:
        box: the crop of the image, from `read_image`.
        of_size: (width, height) of the image; the mask may have another resolution but not another aspect ratio.

    Raises: ValueError when the aspect ratio differs from the image's by more than one pixel.
    """
    from PIL.Image import Resampling

    mask = open_mask(path)
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
    """Converts uint8 to float32 k/255 in [0,1]."""
    return image.to(torch.float32).div_(255)


def checked_indices(indices: Sequence[int], n: int) -> list[int]:
    """Converts indices of a data set of n images to integers. Raises: IndexError, which names the first one that is
    out of range."""
    rows = [int(i) for i in indices]
    for row in rows:
        if not 0 <= row < n:
            raise IndexError(f"index {row} is outside a data set of {n} images")
    return rows
