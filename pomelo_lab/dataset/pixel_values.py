"""Interprets the numbers of image files with more than 8 bits per value or transparent parts.

The result is a colour image, or an error that names the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image


def eight_bits(file: Image, path: Path, value_range: Sequence[float] | None) -> Image:
    """Converts a gray image of more than 8 bits per value to 8 bits, from black to white.

    Raises: ValueError, which names the file, when values lie outside.
    """
    from PIL import Image

    values = np.asarray(file)
    if not np.isfinite(values).all():
        raise ValueError(f"{path} holds values that are not finite (NaN or infinite): replace this file")
    values = values if values.dtype.kind == "f" else values.astype(np.int64)
    low, high = value_range or stated_range(file, values, path)
    if values.min() < low or values.max() > high:
        got = f"{values.min():g} to {values.max():g}"
        raise ValueError(
            f"{path} holds values from {got}, outside dataset.value_range=[{low:g},{high:g}], the values "
            f"of black and white"
        )
    if (low, high) == (0, 65535):
        scaled = values * 255 // 65535  # as image programs cut 16 bits to 8
    else:
        scaled = np.rint((values.astype(np.float64) - low) * (255 / (high - low)))
    return Image.fromarray(scaled.astype(np.uint8))


def stated_range(file: Image, values: np.ndarray, path: Path) -> tuple[float, float]:
    """The values of black and white in a gray file of more than 8 bits per value, if its format states them.

    PNG and PGM: 0 to 65535. TIFF: all of its 9 to 16 unsigned bits. Floats between 0 and 1: 0 to 1. Files of 16 bits
    whose upper two bits are never used rarely hold images that dark; most hold data of fewer bits. They are therefore
    not guessed, nor are other integers and floats.

    Raises: ValueError, which names the file, its values and the argument that states their meaning.
    """
    least, most = values.min(), values.max()
    got = f"{path} holds values from {least:g} to {most:g}"
    if file.mode == "F":
        if least >= 0 and most <= 1:
            return 0.0, 1.0
        raise ValueError(
            f"{got}, floats that do not lie between 0 and 1: say which values are black and white, as "
            f"dataset.value_range=[0,255]"
        )
    if file.format == "PPM":  # Pillow spreads the file's own range over 16 bits
        return 0, 65535
    bits = int(file.tag_v2.get(258, (16,))[0]) if file.format == "TIFF" else 16
    if file.format == "TIFF" and (file.mode == "I" or bits > 16):
        raise ValueError(f"{got} in {bits} bits: say which values are black and white, as dataset.value_range=[0,255]")
    if bits < 16:
        return 0, 2**bits - 1
    if 0 < most < 2**14:
        guess = 2 ** max(8, int(most).bit_length()) - 1
        raise ValueError(
            f"{got} in 16 bits, nearly black unless they have fewer: say which values are black and white, "
            f"dataset.value_range=[0,{guess}], "
            "or [0,65535] where the images are that dark"
        )
    return 0, 65535


def check_high_bytes(file: Image, path: Path, value_range: Sequence[float] | None) -> None:
    """Checks colours of 16 bits, of which only the upper 8 bits are decoded. Raises: ValueError when these hold too
    little of the image."""
    bands = file.getextrema() if len(file.getbands()) > 1 else (file.getextrema(),)
    most = max(high for name, (_, high) in zip(file.getbands(), bands, strict=True) if name != "A")
    if value_range is not None and tuple(value_range) != (0, 65535):
        raise ValueError(
            f"{path} has colours of 16 bits, which dataset.value_range cannot scale: save it with 8 bits per value"
        )
    if 0 < most < 64 and value_range is None:
        raise ValueError(
            f"{path} has colours of 16 bits below {(most + 1) * 256}, nearly black unless they have fewer bits: save "
            f"it with 8 bits per value, "
            "or say dataset.value_range=[0,65535] where the images are that dark"
        )


def flattened(file: Image, path: Path, background: float | None) -> Image:
    """Lays an image with transparent parts over a gray in [0,1]. Other images are returned unchanged, with or without a
    transparency channel.

    The colours stored under transparent parts do not belong to the picture; programs leave arbitrary values in them.

    Raises: ValueError, which names the file, when no background is given, or when a gray value of more than 8 bits
        marks transparency.
    """
    from PIL import Image

    if not file.has_transparency_data:
        return file
    deep = file.mode.startswith(("I", "F"))
    layers = file if deep else file.convert("RGBA")
    if (
        not (np.asarray(file) == file.info["transparency"]).any()
        if deep
        else layers.getchannel("A").getextrema()[0] == 255
    ):
        return file
    if background is None or deep:
        way = "save it without transparency" + (
            "" if deep else ", or say the gray behind them, dataset.background=1 for white (image_folder)"
        )
        raise ValueError(f"{path} has transparent parts, whose colours it does not say: {way}")
    level = round(255 * background)
    return Image.alpha_composite(Image.new("RGBA", file.size, (level, level, level, 255)), layers).convert("RGB")
