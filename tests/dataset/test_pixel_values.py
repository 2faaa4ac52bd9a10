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
        (
            "12.png",
            RAMP.astype(np.uint16) * 16,
            r"12\.png holds values from 0 to 4080 in 16 "
            r"bits.*dataset\.value_range=\[0,4095\]",
        ),
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
    with pytest.raises(
        ValueError, match=r"a\.png holds values from 0 to 4080, outside dataset\.value_range=\[0,1000\]"
    ):
        gray(tmp_path / "a.png", RAMP.astype(np.uint16) * 16, [0, 1000])
    assert gray(tmp_path / "b.png", RAMP.astype(np.uint16) * 16, [0, 65535]).max() == 15
    assert gray(tmp_path / "black.png", np.zeros((4, 4), np.uint16)).max() == 0  # black in every reading


def test_colours_of_16_bits_that_use_their_lower_byte_alone_are_refused(tmp_path):
    import struct
    import zlib

    from PIL import PngImagePlugin  # Pillow writes no 16-bit colours: a file of three lines by hand

    def png(path, value):
        raw = b"".join(b"\0" + struct.pack(">3H", value, value, value) * 4 for _ in range(4))
        chunks = [
            (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(raw)),
            (b"IEND", b""),
        ]
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


# --- transparent parts --------------------------------------------------------------------------------------------

CUTOUT = np.zeros((8, 8, 4), np.uint8)
CUTOUT[:, :4] = (200, 40, 40, 255)
CUTOUT[:, 4:] = (10, 220, 10, 0)  # a colour that no program shows
HALF = np.array([[[200, 40, 40, 255]] * 4 + [[200, 40, 40, 128]] * 4] * 8, np.uint8)


def saved(path, kind):
    """The same picture with transparent parts, in each way in which files have them."""
    image = Image.fromarray(HALF if kind == "half" else CUTOUT)
    if kind in ("palette", "colour"):
        image = image.convert("RGB")
        image = image.quantize(4) if kind == "palette" else image
        image.save(path, transparency=image.getpixel((7, 0)))
    else:
        image.convert("LA" if kind == "gray" else "RGBA").save(path)
    return path


@pytest.mark.parametrize("kind", ["rgba", "half", "gray", "palette", "colour"])
def test_transparent_parts_are_refused_or_take_the_colour_that_is_asked_for(tmp_path, kind):
    path = saved(tmp_path / "a.png", kind)
    with pytest.raises(ValueError, match=r"a\.png has transparent parts.*dataset\.background=1"):
        open_image(path)
    for level in (0.0, 0.2, 1.0):
        seen = np.asarray(open_image(path, background=level)).astype(int)
        behind = np.full(3, round(255 * level))
        right = HALF[0, 0, :3] * (128 / 255) + behind * (127 / 255) if kind == "half" else behind
        assert np.abs(seen[:, 4:] - right).max() <= 1
        assert kind == "gray" or np.array_equal(seen[0, 0], CUTOUT[0, 0, :3])
        assert (
            np.abs(
                np.asarray(open_image(path, "L", background=level))[0, 7].astype(int) - right @ (0.299, 0.587, 0.114)
            ).max()
            <= 2
        )


def test_a_channel_for_transparency_that_hides_nothing_changes_nothing(tmp_path):
    opaque = np.dstack([CUTOUT[..., :3], np.full((8, 8), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "a.png")
    for level in (None, 0.0):
        assert np.array_equal(np.asarray(open_image(tmp_path / "a.png", background=level)), opaque[..., :3])


def test_a_transparent_value_of_16_bits_is_refused(tmp_path):
    values = np.full((4, 4), 30000, np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png", transparency=30000)
    Image.fromarray(values).save(tmp_path / "b.png", transparency=5)
    with pytest.raises(ValueError, match=r"a\.png has transparent parts"):
        open_image(tmp_path / "a.png", background=0.0)
    assert np.asarray(open_image(tmp_path / "b.png")).max() == 30000 * 255 // 65535


def test_an_image_folder_takes_the_background_into_its_fingerprint_where_one_is_given(tmp_path):
    from pomelo_lab.config.fingerprint import canonical

    (tmp_path / "test" / "a").mkdir(parents=True)
    saved(tmp_path / "test" / "a" / "0.png", "rgba")
    node = {"_target_": "pomelo_lab.dataset.image_folder.ImageFolder", "root": str(tmp_path), "size_px": 8}
    assert ImageFolder(root=str(tmp_path), size_px=8, background=1).batch([0]).image[0, :, 0, 7].tolist() == [1, 1, 1]
    assert canonical(node) == canonical({**node, "background": None}) != canonical({**node, "background": 1})
    with pytest.raises(ValueError, match="background must be"):
        ImageFolder(root=str(tmp_path), size_px=8, background=255)
