import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.dataset.image_file import centre_box, checked, first_existing, missing_file, open_image, read_image, read_mask, to_unit
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
    found = read_mask(tmp_path / "mask.png", 16, box, size)
    assert found.dtype == torch.bool and found[:, :8].all() and not found[:, 8:].any()
    Image.fromarray(mask.T.copy()).save(tmp_path / "turned.png")
    with pytest.raises(ValueError, match="turned.png has 20x40 pixels, its image 80x40"):
        read_mask(tmp_path / "turned.png", 16, box, size)


def test_unit_values_are_on_the_8_bit_grid():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_unit(values).mul(255).round().to(torch.uint8), values)
    assert to_unit(values).dtype == torch.float32


def test_an_index_outside_is_named():
    assert checked(torch.tensor([2, 0]), 3) == [2, 0]
    for wrong in (3, -1):
        with pytest.raises(IndexError, match=f"index {wrong} is outside a data set of 3 images"):
            checked([0, wrong], 3)
