"""A file that cannot be decoded is called by what it is."""

import struct

import pytest

from pomelo_lab.dataset.image_file import open_image
from tests.dataset.fixtures import picture


def tiff(bits: int, number_format: int, samples: int) -> bytes:
    """A TIFF of one pixel whose tags say what its numbers are: bits that fit in two bytes, a short each."""
    tags = {256: 1, 257: 1, 258: bits, 259: 1, 262: 1, 273: 8, 277: samples, 278: 1, 279: 64, 339: number_format}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 72) + bytes(64) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty"),
        (bytes(900), "zeros alone"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a pointer of Git LFS: fetch the file itself"),
        (b"\n<!DOCTYPE html><html>404</html>", "a web page, saved in place of an image"),
        (bytes(128) + b"DICM" + bytes(99), "a DICOM file: convert it"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "a file of the format heic: convert it"),
        (b"PK\x03\x04" + bytes(99), "a zip archive"),
        (tiff(64, 3, 1), "a TIFF of 1 float of 64 bits per pixel.*save it with 8 or 16 bits"),
        (tiff(32, 3, 3), "a TIFF of 3 floats of 32 bits per pixel"),
        (tiff(64, 1, 1), "a TIFF of 1 whole number of 64 bits per pixel"),
        (b"II*\0\xff\xff\xff\x00" + bytes(99), "truncated or damaged"),
        (b"hello", "no image of a known format"),
    ],
)
def test_what_a_file_is(tmp_path, data, text):
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(ValueError, match=f"a.tif cannot be decoded, it is .*{text}"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("kept", [0.03, 0.6])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_what_was_cut_off_is_called_truncated(tmp_path, suffix, kept):
    path = tmp_path / f"a.{suffix}"
    picture(0, 64, 64).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=f"a.{suffix} cannot be decoded.* truncated or damaged: remove"):
        open_image(path)
