import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.dataset.image_file import (
    centre_box,
    checked_indices,
    first_existing,
    missing_file,
    open_image,
    open_mask,
    read_image,
    read_mask,
    to_unit,
)
from tests.dataset.fixtures import picture, truncate


def test_missing_file_names_path_layout_and_source(tmp_path):
    text = str(missing_file("the list", tmp_path / "list.txt", "<root>/list.txt", "the project page"))
    assert str(tmp_path / "list.txt") in text and "<root>/list.txt" in text and "the project page" in text


def test_first_existing_takes_the_first_and_names_all_tried(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    assert first_existing("x", [tmp_path / "a", tmp_path / "b", tmp_path / "c"], "") == tmp_path / "b"
    with pytest.raises(FileNotFoundError, match="a, .*d"):
        first_existing("x", [tmp_path / "a", tmp_path / "d"], "")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_file_is_named_with_the_advice_to_remove_it(tmp_path, suffix):
    path = tmp_path / f"broken.{suffix}"
    picture(0, 64, 64).save(path)
    truncate(path)
    with pytest.raises(ValueError, match=rf"broken\.{suffix} cannot be decoded .*remove"):
        open_image(path)


def test_empty_and_foreign_files_are_named(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    for name in ("empty.png", "text.png"):
        with pytest.raises(ValueError, match=name):
            open_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="absent.png"):
        open_image(tmp_path / "absent.png")


def test_gray_palette_alpha_and_16_bit_files_become_rgb(tmp_path):
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(gray).convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    for name in ("gray", "deep", "alpha", "palette"):
        image, _, _ = read_image(tmp_path / f"{name}.png", 8)
        assert image.shape == (3, 8, 8) and image.dtype == torch.uint8
        assert torch.equal(image, torch.from_numpy(gray).expand(3, 8, 8)), name
    assert read_image(tmp_path / "gray.png", 8, channels=1)[0].shape == (1, 8, 8)


def test_no_resize_keeps_the_pixels_of_the_centre(tmp_path):
    picture(1, 20, 33).save(tmp_path / "a.png")
    image, _, size = read_image(tmp_path / "a.png", 20)
    original = torch.from_numpy(np.array(Image.open(tmp_path / "a.png"))).permute(2, 0, 1)
    assert size == (20, 33) and torch.equal(image, original[:, 6:26])


def test_box_is_centred_and_a_larger_crop_is_refused(tmp_path):
    assert centre_box(178, 218) == (0, 20 / 218, 1, 198 / 218)
    assert centre_box(10, 10, 4) == (0.3, 0.3, 0.7, 0.7)
    picture(0, 10, 12).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: crop_px is 11, larger than an image of 10x12"):
        read_image(tmp_path / "a.png", 8, crop_px=11)


def test_downsizing_is_antialiased(tmp_path):
    fine = np.zeros((64, 64), dtype=np.uint8)
    fine[:, ::2] = 255
    Image.fromarray(fine).save(tmp_path / "fine.png")
    inner = read_image(tmp_path / "fine.png", 8)[0][..., 1:-1].float()
    assert (inner - 127.5).abs().max() <= 1  # an aliased resize would give 0 or 255


def test_mask_of_another_resolution_is_cut_like_its_image(tmp_path):
    picture(0, 80, 40).save(tmp_path / "image.png")
    mask = np.zeros((20, 40), dtype=np.uint8)
    mask[:, :20] = 1  # left half; 0/1 and 0/255 both mean inside
    Image.fromarray(mask).save(tmp_path / "mask.png")
    _, box, size = read_image(tmp_path / "image.png", 16)
    mask_read = read_mask(tmp_path / "mask.png", 16, box, size)
    assert mask_read.dtype == torch.bool and mask_read[:, :8].all() and not mask_read[:, 8:].any()
    Image.fromarray(mask.T.copy()).save(tmp_path / "turned.png")
    with pytest.raises(ValueError, match="turned.png has 20x40 pixels, its image 80x40"):
        read_mask(tmp_path / "turned.png", 16, box, size)


def test_unit_values_are_on_the_8_bit_grid():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_unit(values).mul(255).round().to(torch.uint8), values)
    assert to_unit(values).dtype == torch.float32


def test_an_index_outside_is_named():
    assert checked_indices(torch.tensor([2, 0]), 3) == [2, 0]
    for wrong in (3, -1):
        with pytest.raises(IndexError, match=f"index {wrong} is outside a data set of 3 images"):
            checked_indices([0, wrong], 3)


HALF = np.zeros((8, 8), dtype=np.uint8)
HALF[:, :4] = 1


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("one.png", HALF),
        ("full.png", HALF * 255),
        ("bits.png", HALF > 0),
        ("label16.png", HALF.astype(np.uint16)),
        ("label200.png", HALF.astype(np.uint16) * 200),
        ("full16.png", HALF.astype(np.uint16) * 65535),
        ("int32.tif", HALF.astype(np.int32) * 3),
        ("float.tif", HALF.astype(np.float32) * 0.2),
        ("red.png", np.stack([HALF, HALF * 0, HALF * 0], -1)),  # label 1 in the red band, as ImageNet-S has it: gray 0
        ("alpha.png", np.stack([HALF * 255] * 4, -1)),
    ],
)
def test_a_mask_is_what_is_not_0_in_any_mode(tmp_path, name, mask):
    Image.fromarray(mask).save(tmp_path / name)
    assert torch.equal(read_mask(tmp_path / name, 8), torch.from_numpy(HALF > 0))


def test_a_palette_of_labels_is_read_and_an_unclear_one_refused(tmp_path):
    labels = Image.fromarray(HALF * 2, mode="P")
    labels.putpalette([0, 0, 0, 9, 9, 9, 128, 0, 0])
    labels.save(tmp_path / "voc.png")
    assert torch.equal(read_mask(tmp_path / "voc.png", 8), torch.from_numpy(HALF > 0))
    labels.putpalette([255, 255, 255, 9, 9, 9, 0, 0, 0])  # number 0 is white
    labels.save(tmp_path / "turned.png")
    with pytest.raises(ValueError, match="turned.png is a mask with a palette"):
        open_mask(tmp_path / "turned.png")


def test_masks_whose_values_are_not_clear_are_refused(tmp_path):
    picture(0, 32, 32, 1).point(lambda v: 255 * (v > 128)).save(tmp_path / "lossy.jpg")
    Image.fromarray(np.stack([HALF * 0 + 255, HALF * 255], -1), mode="LA").save(tmp_path / "clear.png")
    for name, text in {"lossy.jpg": "JPEG", "clear.png": "transparent"}.items():
        with pytest.raises(ValueError, match=f"{name} is a mask .*{text}"):
            open_mask(tmp_path / name)


def test_an_image_over_the_limit_is_read_reduced_and_named(tmp_path, monkeypatch, caplog):
    picture(3, 128, 96).save(tmp_path / "large.png")
    picture(3, 128, 96).save(tmp_path / "large.jpg", quality=95)
    whole = {name: read_image(tmp_path / name, 16, crop_px=80) for name in ("large.png", "large.jpg")}
    monkeypatch.setattr("pomelo_lab.dataset.image_file.LARGEST", 64 * 48)
    for name, (image, box, size) in whole.items():
        reduced, same_box, same_size = read_image(tmp_path / name, 16, crop_px=80)
        assert (same_box, same_size) == (box, size) and (reduced.int() - image.int()).abs().max() <= 6
        assert f"{name} has 128x96 pixels" in caplog.text and "here 64x48" in caplog.text


def test_an_image_that_pillow_refuses_is_called_too_large(tmp_path, monkeypatch):
    picture(0, 64, 64).save(tmp_path / "slide.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"slide\.png is too large .*4096 pixels.*scale it down"):
        open_image(tmp_path / "slide.png")


@pytest.fixture
def nothing_said(monkeypatch):
    monkeypatch.setattr("pomelo_lab.dataset.image_file._warned", set())


def test_of_a_file_with_several_pages_the_first_is_read_which_is_said_once(tmp_path, caplog, nothing_said):
    pages = [Image.fromarray(np.full((6, 6), level, np.uint8)) for level in (50, 200)]
    pages[0].save(tmp_path / "c.tif")
    assert np.asarray(open_image(tmp_path / "c.tif", "L")).max() == 50 and not caplog.text
    for name in ("a.tif", "b.tif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        assert np.asarray(open_image(tmp_path / name, "L")).tolist() == [[50] * 6] * 6
    assert caplog.text.count("several pages") == 1 and f"{tmp_path / 'a.tif'} has several pages" in caplog.text


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_rotation_of_the_camera_is_not_applied_which_is_said_once(tmp_path, caplog, nothing_said, suffix):
    exif = Image.Exif()
    for name, orientation in (("upright", 1), ("left", 6), ("right", 8)):
        exif[274] = orientation
        picture(0, 8, 12).save(tmp_path / f"{name}.{suffix}", exif=exif)
        turned = suffix == "tif" and orientation > 1  # by Pillow itself
        assert open_image(tmp_path / f"{name}.{suffix}").size == ((12, 8) if turned else (8, 12))
    assert caplog.text.count("stored rotated") == (suffix != "tif")
    assert (f"left.{suffix} is stored rotated (EXIF)" in caplog.text) == (suffix != "tif")
