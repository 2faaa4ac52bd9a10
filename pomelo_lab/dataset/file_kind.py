"""Identifies files that cannot be decoded as images, and suggests a remedy."""

from __future__ import annotations

import warnings
from pathlib import Path

HEADS = (  # first bytes of files that are not images
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself with git lfs pull"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL", "a JPEG XL image"),
)
# the reader knows them
WHOLE_FORMATS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"RIFF", b"P5", b"P6", b"P2", b"P3")
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NUMBERS = {1: "whole numbers", 2: "signed whole numbers", 3: "floats", 5: "complex numbers", 6: "complex numbers"}
CONVERT = "convert it to PNG, or remove it"
REPLACE = "remove or replace this file"


def what_it_is(path: Path) -> str:
    """Describes a file with a remedy: "a DICOM file: convert it to PNG, or remove it"."""
    with open(path, "rb") as file:
        head = file.read(512)
    if not head.strip(b"\0"):
        return f"{'zeros alone' if head else 'empty'}: {REPLACE}"
    for start, kind in HEADS:
        if head.startswith(start):
            return kind if ":" in kind else f"{kind}: {CONVERT}"
    if head[128:132] == b"DICM":
        return f"a DICOM file: {CONVERT}"
    if head[4:8] == b"ftyp":
        # heic, avif, mp42, ...
        return f"a file of the format {head[8:12].decode('ascii', 'replace').strip()}: {CONVERT}"
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return f"a web page, saved in place of an image: {REPLACE}"
    if text.startswith((b"<?xml", b"<svg")):
        return f"an XML or SVG text: {CONVERT}"
    if head.startswith(TIFF) and (numbers := tiff_numbers(path)):
        return (
            f"a TIFF of {numbers}, which cannot be read: save it with 8 or 16 bits per value, or as 32-bit floats "
            f"in gray"
        )
    if head.startswith((*WHOLE_FORMATS, *TIFF)):
        return f"truncated or damaged: {REPLACE}"
    return f"no image of a known format: {REPLACE}"


def tiff_numbers(path: Path) -> str:
    """The pixel format in the tags of a TIFF, such as "3 floats of 64 bits per pixel"; "" when the tags cannot be
    read."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        with open(path, "rb") as file, warnings.catch_warnings(action="ignore"):
            start = file.read(8)
            tags = ImageFileDirectory_v2(start + (file.read(8) if start[2:4] in (b"+\0", b"\0+") else b""))
            file.seek(tags.next)
            tags.load(file)
        bits, kinds, samples = (tags.get(tag) for tag in (258, 339, 277))
        per_pixel, kind = samples or 1, NUMBERS.get((kinds or (1,))[0], "undefined values")
        return f"{per_pixel} {kind if per_pixel > 1 else kind.removesuffix('s')} of {bits[0]} bits per pixel"
    except Exception:  # noqa: BLE001 (bytes from outside, which may break any reader: then nothing is said of them)
        return ""
