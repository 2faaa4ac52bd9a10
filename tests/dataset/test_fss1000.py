from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.dataset.fss1000 import FSS1000
from tests.dataset.contract import check_contract
from tests.dataset.fixtures import picture

CLASSES = ("abacus", "abe's_flyingfish", "zucchini")
SMALL = {"resize_px": 32, "size_px": 32}


def make(root: Path, place: str = "fewshot_data") -> Path:
    """Three classes of ten 48x48 images; the mask of image i covers its first 4 i columns."""
    for k, name in enumerate(CLASSES):
        folder = root / place / name
        folder.mkdir(parents=True)
        for i in range(1, 11):
            picture(10 * k + i, 48, 48).save(folder / f"{i}.jpg", quality=95)
            mask = np.zeros((48, 48, 3), np.uint8)
            mask[:, : 4 * i] = 255
            mask[0, 0] = 100  # a blemish of compression is not inside
            Image.fromarray(mask).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make(tmp_path_factory.mktemp("fss"))


def data(root, **given):
    return FSS1000(root=str(root), **{**SMALL, **given})


@pytest.mark.parametrize("given", [{}, {"split": "train"}, {"size_px": 24}])
def test_contract(root, given):
    check_contract(data(root, **given))


@pytest.mark.parametrize(("split", "numbers"), [("train", range(1, 6)), ("val", range(6, 8)), ("test", range(8, 11))])
def test_splits_hold_all_classes(root, split, numbers):
    batch = data(root, split=split).batch(range(3 * len(numbers)))
    assert list(batch.image_id) == sorted(f"fss1000-{name}/{i:02d}" for name in CLASSES for i in numbers)
    assert batch.label.tolist() == [k for k in range(3) for _ in numbers] and data(root).class_names == CLASSES


def test_masks_are_resized_and_cut_like_their_images(root):
    mask_read = data(root, split="test").batch([0]).masks["label"][0]  # image 8: 32 of 48 columns
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[:, :21] = True
    assert (mask_read[1:] != expected[1:]).sum() <= 31 and not mask_read[0, 0]
    cut = data(root, split="test", size_px=16).batch([0]).masks["label"][0]
    assert torch.equal(cut, mask_read[8:24, 8:24])
    assert not data(root).unmasked([0]).masks


@pytest.mark.parametrize("place", ["fewshot_data/fewshot_data", "."])
def test_other_places_give_the_same_data(tmp_path, root, place):
    other = data(make(tmp_path, place))
    assert other.digest() == data(root).digest() and torch.equal(other.batch([1]).image, data(root).batch([1]).image)


def test_missing_folder_and_masks(tmp_path):
    with pytest.raises(FileNotFoundError, match="fewshot_data.*abacus"):
        data(tmp_path / "none")
    made = make(tmp_path)
    (made / "fewshot_data/abacus/8.png").unlink()
    with pytest.raises(ValueError, match=r"there is no mask .*abacus/8.png"):
        data(made).batch([0])
    Image.new("L", (40, 48)).save(made / "fewshot_data/abacus/8.png")
    with pytest.raises(ValueError, match="40x48 pixels, its image 48x48"):
        data(made).batch([0])
