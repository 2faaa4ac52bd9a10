import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from pomelo_lab.config.signature import node_problems
from pomelo_lab.dataset.places365 import Places365, category
from tests.dataset.contract import check_contract
from tests.dataset.fixtures import picture, truncate

CATEGORIES = ("/a/airfield", "/a/apartment_building/outdoor", "/b/bedroom")
VAL = {f"Places365_val_{i:08d}.jpg": i * 5 % 3 for i in range(1, 13)}
SMALL = {"resize_px": 40, "size_px": 32}


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, 50, 44).save(path, quality=95)


def make_easy(root: Path, categories: bool = True) -> Path:
    """places365_standard with a folder per class: 2 training images of each, 12 validation images."""
    folders = ("airfield", "apartment_building-outdoor", "bedroom")
    for k, name in enumerate(folders):
        for i in range(2):
            save(root / "places365_standard/train" / name / f"{i + 1:08d}.jpg", 10 * k + i)
    for i, (name, k) in enumerate(VAL.items()):
        save(root / "places365_standard/val" / folders[k] / name, 100 + i)
    if categories:
        (root / "categories_places365.txt").write_text("".join(f"{name} {k}\n" for k, name in enumerate(CATEGORIES)))
    return root


def make_lists(root: Path, size: str = "256", suffix: str = "") -> Path:
    """val_256 and data_256 (or large) with the lists of the official archive."""
    lines = []
    for k, name in enumerate(CATEGORIES):
        for i in range(2):
            save(root / f"data_{size}{suffix}{name}/{i + 1:08d}.jpg", 10 * k + i)
            lines.append(f"{name}/{i + 1:08d}.jpg {k}\n")
    for i, name in enumerate(VAL):
        save(root / f"val_{size}" / name, 100 + i)
    (root / "places365_train_standard.txt").write_text("".join(lines))
    (root / "places365_val.txt").write_text("".join(f"{name} {k}\n" for name, k in VAL.items()))
    (root / "categories_places365.txt").write_text("".join(f"{name} {k}\n" for k, name in enumerate(CATEGORIES)))
    return root


@pytest.fixture
def root(tmp_path):
    return make_lists(tmp_path / "places")


def data(root, **given) -> Places365:
    return Places365(root=str(root), **{**SMALL, **given})


def whole(one: Places365):
    return one.batch(range(len(one)))


@pytest.mark.parametrize("given", [{}, {"split": "val"}, {"split": "train"}, {"size_px": 40}])
@pytest.mark.parametrize("make", [make_easy, make_lists])
def test_contract(tmp_path, make, given):
    make(tmp_path)
    check_contract(data(tmp_path, **given))


def test_classes_and_labels_are_the_official_numbers(root):
    assert data(root).class_names == ("airfield", "apartment_building/outdoor", "bedroom")
    for split in ("val", "test"):
        batch = whole(data(root, split=split))
        assert batch.label.tolist() == [VAL[name.removeprefix("places365-") + ".jpg"] for name in batch.image_id]
    train = whole(data(root, split="train"))
    assert (
        train.label.tolist() == [0, 0, 1, 1, 2, 2]
        and train.image_id[2] == "places365-apartment_building/outdoor/00000001"
    )
    assert data(root).provides == Places365.features({}) == {"label"}


def test_numbers_follow_the_list_and_not_the_alphabet(tmp_path):
    make_easy(tmp_path)
    (tmp_path / "categories_places365.txt").write_text("/b/bedroom 0\n/a/airfield 1\n/a/apartment_building/outdoor 2\n")
    assert data(tmp_path).class_names == ("bedroom", "airfield", "apartment_building/outdoor")
    assert whole(data(tmp_path, split="train")).label.tolist() == [1, 1, 2, 2, 0, 0]


def test_val_and_test_are_disjoint_halves_of_the_official_validation_images(root):
    ids = {split: set(whole(data(root, split=split)).image_id) for split in ("train", "val", "test")}
    assert ids["val"] | ids["test"] == {f"places365-{name[:-4]}" for name in VAL} and not ids["val"] & ids["test"]
    assert ids["val"] and ids["test"] and not ids["train"] & (ids["val"] | ids["test"])


def bare(root: Path) -> Path:
    """places365_standard itself as the root, without a list of categories."""
    return make_easy(root, categories=False) / "places365_standard"


def nested(root: Path) -> Path:
    """The easy format with the folders of the class paths: a/apartment_building/outdoor."""
    make_easy(root)
    for split in ("train", "val"):
        top = root / "places365_standard" / split
        for name in CATEGORIES:
            (top / name[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(top / name[3:].replace("/", "-"), top / name[1:])
    return root


@pytest.mark.parametrize(
    "make",
    [
        make_easy,
        bare,
        nested,
        lambda root: make_lists(root, "large"),
        lambda root: make_lists(root, "256", "_standard"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_other_layouts_give_the_same_data(tmp_path, root, make, split):
    one, other = data(root, split=split), data(make(tmp_path / "other"), split=split)
    assert other.digest() == one.digest() and other.class_names == one.class_names
    a, b = whole(one), whole(other)
    assert a.image_id == b.image_id and torch.equal(a.image, b.image) and torch.equal(a.label, b.label)


def test_forms_of_a_class_name():
    assert {category(name) for name in ("/a/arena/hockey", "a/arena/hockey", "arena/hockey", "arena-hockey")} == {
        "arena/hockey"
    }
    assert category("airfield") == "airfield"


def test_digest_sees_labels_and_files(root):
    digests = [data(root).digest(), data(root, split="val").digest()]
    name = next(name for name in VAL if f"places365-{name[:-4]}" in whole(data(root)).image_id)
    Image.new("RGB", (50, 44)).save(root / "val_256" / name)
    digests.append(data(root).digest())
    path = root / "places365_val.txt"
    path.write_text(path.read_text().replace(f"{name} {VAL[name]}", f"{name} {(VAL[name] + 1) % 3}"))
    digests.append(data(root).digest())
    assert len(set(digests)) == len(digests)


def test_constructing_reads_no_image(root, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("an image was opened"))
    data(root).digest()


def test_wrong_arguments_are_found_by_the_config_check():
    node = {"_target_": "pomelo_lab.dataset.places365.Places365", "root": "x", "resize_px": 100}
    (problem,) = node_problems(node, "dataset")
    assert problem.startswith("dataset.size_px must be <= resize_px, got 224 and 100")


@pytest.mark.parametrize(
    ("remove", "split", "expected"),
    [
        (
            "val_256",
            "test",
            (
                "validation images of Places365",
                "places365_standard/val",
                "places2.csail.mit.edu",
                "nothing is downloaded",
            ),
        ),
        ("data_256", "train", ("training images of Places365", "expected layout")),
        (
            "categories_places365.txt",
            "test",
            ("a list that val_256", "categories_places365.txt", "places2.csail.mit.edu"),
        ),
        ("places365_val.txt", "val", ("a list that val_256", "places365_val.txt", "expected layout")),
        ("places365_train_standard.txt", "train", ("a list that data_256", "places365_train_standard.txt")),
    ],
)
def test_a_missing_part_names_path_layout_and_source(root, remove, split, expected):
    path = root / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        data(root, split=split)
    assert str(root) in str(error.value) and all(text in str(error.value) for text in expected)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "categories_places365.txt",
            "/a/airfield 0\n/b/bedroom 2\n",
            r"categories_places365\.txt line 2: expected "
            r"'/a/airfield 1'",
        ),
        (
            "places365_val.txt",
            "Places365_val_00000001.jpg 3\n",
            r"places365_val\.txt line 1: expected '<image> <number "
            r"below 3>'",
        ),
        ("places365_val.txt", "Places365_val_00000001.jpg\n", r"places365_val\.txt line 1"),
    ],
)
def test_a_broken_list_is_named(root, file, text, message):
    (root / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        data(root)


def test_a_folder_that_is_no_class_is_named(tmp_path):
    make_easy(tmp_path)
    shutil.move(tmp_path / "places365_standard/val/bedroom", tmp_path / "places365_standard/val/bed_room")
    with pytest.raises(
        ValueError, match=re.compile(r"bed_room/.*'bed_room' is not one of the 3 classes of .*categories", re.S)
    ):
        data(tmp_path)


def test_a_missing_or_truncated_image_is_named_when_read(root):
    one = data(root)
    truncate(root / "val_256" / one._files[0])
    with pytest.raises(ValueError, match="cannot be decoded .*remove"):
        one.batch([0])
    (root / "val_256" / one._files[0]).unlink()
    with pytest.raises(FileNotFoundError, match=one._files[0]):
        one.batch([0])
