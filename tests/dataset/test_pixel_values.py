"""Numbers of more than 8 bits are read by what they mean, or refused with the file's name."""

import numpy as np
import pytest
from PIL import Image

from pomelo_lab.dataset.image_file import open_image
from pomelo_lab.dataset.image_folder import ImageFolder

RAMP = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(8, 0)


def gray(path, values, value_range=None) -> np.ndarray:
    Image.fromarray(values).save(path)
    return np.asarray(open_image(path, "L", value_range)).astype(int)


@pytest.mark.parametrize(
    ("name", "values", "value_range"),
    [
        ("8.png", RAMP, None),
        ("16.png", RAMP.astype(np.uint16) * 257, None),
        ("16.tif", RAMP.astype(np.uint16) * 257, None),
        ("12.png", RAMP.astype(np.uint16) * 16, [0, 4080]),
        ("32.tif", RAMP.astype(np.int32), [0, 255]),
        ("signed.tif", RAMP.astype(np.int32) - 100, [-100, 155]),
        ("unit.tif", (RAMP / 255).astype(np.float32), None),
        ("float.tif", RAMP.astype(np.float32), [0, 255]),
    ],
)
def test_values_become_the_grays_that_they_mean(tmp_path, name, values, value_range):
    assert np.abs(gray(tmp_path / name, values, value_range) - RAMP).max() == 0


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("12.png", RAMP.astype(np.uint16) * 16, r"12\.png holds values from 0 to 4080 in 16 bits.*dataset\.value_range=\[0,4095\]"),
        ("10.tif", RAMP.astype(np.uint16) * 4, r"10\.tif holds values from 0 to 1020.*value_range=\[0,1023\]"),
        ("32.tif", RAMP.astype(np.int32), r"32\.tif holds values from 0 to 255 in 32 bits"),
        ("float.tif", RAMP.astype(np.float32), r"float\.tif holds values from 0 to 255, floats.*dataset\.value_range"),
        ("nan.tif", np.full((4, 4), np.nan, np.float32), r"nan\.tif holds values that are not finite"),
    ],
)
def test_values_that_do_not_say_what_they_mean_are_refused(tmp_path, name, values, text):
    with pytest.raises(ValueError, match=text):
        gray(tmp_path / name, values)


def test_a_range_that_a_file_leaves_is_refused_and_a_dark_file_can_be_declared(tmp_path):
    with pytest.raises(ValueError, match=r"a\.png holds values from 0 to 4080, outside dataset\.value_range=\[0,1000\]"):
        gray(tmp_path / "a.png", RAMP.astype(np.uint16) * 16, [0, 1000])
    assert gray(tmp_path / "b.png", RAMP.astype(np.uint16) * 16, [0, 65535]).max() == 15
    assert gray(tmp_path / "black.png", np.zeros((4, 4), np.uint16)).max() == 0  # black in every reading


def test_colours_of_16_bits_that_use_their_lower_byte_alone_are_refused(tmp_path):
    import struct
    import zlib

    from PIL import PngImagePlugin  # Pillow writes no 16-bit colours: a file of three lines by hand

    def png(path, value):
        raw = b"".join(b"\0" + struct.pack(">3H", value, value, value) * 4 for _ in range(4))
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
        body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
        path.write_bytes(PngImagePlugin._MAGIC + body)
        return path

    assert np.asarray(open_image(png(tmp_path / "full.png", 51400))).max() == 200
    with pytest.raises(ValueError, match=r"12\.png has colours of 16 bits below 4096.*save it with 8 bits"):
        open_image(png(tmp_path / "12.png", 4000))


def test_an_image_folder_takes_the_range_and_refuses_a_wrong_one(tmp_path):
    folder = tmp_path / "test" / "a"
    folder.mkdir(parents=True)
    Image.fromarray(RAMP[:, :8].astype(np.uint16) * 16).save(folder / "0.png")
    with pytest.raises(ValueError, match="value_range"):
        ImageFolder(root=str(tmp_path), size_px=8).batch([0])
    read = ImageFolder(root=str(tmp_path), size_px=8, value_range=[0, 4095]).batch([0]).image
    assert float(read.max()) == pytest.approx(int(RAMP[0, 7]) * 16 / 4095, abs=1 / 255)
    with pytest.raises(ValueError, match="value_range must be null or two rising values"):
        ImageFolder(root=str(tmp_path), size_px=8, value_range=[5, 5])


def test_integers_and_floats_of_one_range_are_the_same_grays(tmp_path):
    values = np.arange(201).reshape(3, 67)
    grays = [gray(tmp_path / f"{kind.__name__}.tif", values.astype(kind), [0, 200]) for kind in (np.int32, np.float32)]
    assert np.array_equal(*grays) and np.abs(grays[0] - values * 255 / 200).max() <= 0.5
