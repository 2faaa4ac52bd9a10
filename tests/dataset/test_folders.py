"""What a folder holds is decided by a stated rule, and what falls outside is named."""

import os
import re
from pathlib import Path

import pytest

from pomelo_lab.dataset.folders import images_below
from pomelo_lab.dataset.image_folder import ImageFolder
from tests.dataset.fixtures import picture


def put(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        picture(0, 12, 12).save(root / path)


def classes(root, **given):
    return ImageFolder(root=str(root), size_px=8, **{"val_fraction": 0, "test_fraction": 0, "split": "train", **given})


@pytest.mark.parametrize(
    "words", [("Training", "Testing"), ("train", "valid"), ("Train", "Test"), ("train", "Validate"), ("dev", "eval")]
)
def test_splits_in_another_spelling_are_refused(tmp_path, words):
    put(tmp_path, *[f"{word}/{name}/0.png" for word in words for name in ("glioma", "none")])
    with pytest.raises(ValueError, match=f"look like splits.* rename .*{words[1]} to (test|val)"):
        classes(tmp_path)


def test_a_root_above_the_classes_is_refused_and_one_class_is_not(tmp_path):
    put(tmp_path / "unzipped", "brains/glioma/0.png", "brains/none/0.png")
    with pytest.raises(ValueError, match="one class folder, brains, which holds glioma, none.*one level too high"):
        classes(tmp_path / "unzipped")
    put(tmp_path / "one", "brains/0.png")
    assert classes(tmp_path / "one").class_names == ("brains",)


def test_folders_of_tools_are_left_out_and_named(tmp_path, caplog):
    put(
        tmp_path,
        "a/0.png",
        "a/@eaDir/0.png/THUMB.jpg",
        "b/0.png",
        "@eaDir/a/THUMB.jpg",
        "__MACOSX/a/0.png",
        "b/.hidden/0.png",
    )
    data = classes(tmp_path)
    assert data.class_names == ("a", "b") and len(data) == 2
    assert "@eaDir, __MACOSX left out" in caplog.text


def test_a_forgotten_folder_of_masks_is_refused(tmp_path):
    put(tmp_path, "a/0.png", "b/0.png", "masks/label/a/0.png")
    with pytest.raises(ValueError, match="masks looks like a folder of masks: say dataset.masks=masks"):
        classes(tmp_path)
    assert classes(tmp_path, masks="masks").class_names == ("a", "b")


def test_what_stands_beside_splits_is_named(tmp_path, caplog):
    put(tmp_path, "train/a/0.png", "train/b/0.png", "extra/a/0.png")
    assert len(classes(tmp_path)) == 2 and "extra beside the splits left out" in caplog.text


def test_classes_that_differ_in_case_alone_are_refused(tmp_path):
    put(tmp_path, "train/cat/0.png", "train/dog/0.png", "test/Cat/0.png", "test/dog/0.png")
    with pytest.raises(ValueError, match="Cat and cat differ in case alone"):
        classes(tmp_path)


def test_a_class_that_a_split_lacks_is_named(tmp_path, caplog):
    put(tmp_path, "train/dog/0.png", "train/cat/0.png", "test/bird/0.png", "test/dog/0.png")
    assert classes(tmp_path, split="test").class_names == ("bird", "cat", "dog")
    assert "train has no bird" in caplog.text and "test has no cat" in caplog.text


def test_a_name_that_is_not_utf8_is_named_with_its_folder(tmp_path):
    put(tmp_path, "a/0.png", "a/1.png")
    try:
        os.rename(os.fsencode(tmp_path / "a" / "1.png"), os.fsencode(tmp_path / "a") + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    with pytest.raises(ValueError, match=r"/a: the name b'caf\\xe9.png' is not UTF-8: rename it"):
        classes(tmp_path)


def test_a_name_with_an_escape_sequence_is_refused_without_printing_it(tmp_path):
    put(tmp_path, "a/0.png", "b\x1b[31m/0.png")
    with pytest.raises(ValueError, match="control characters") as error:
        classes(tmp_path)
    assert "\x1b" not in str(error.value)


def test_masks_are_found_in_any_case_and_suffix_and_unpaired_ones_are_named(tmp_path, caplog):
    put(
        tmp_path,
        *(f"test/a/{i}.png" for i in range(4)),
        "masks/label/test/a/0.png",
        "masks/label/test/a/1.PNG",
        "masks/label/test/a/2.tif",
    )
    put(tmp_path, "masks/label/test/a/9.png")
    data = classes(tmp_path, split="test", masks="masks")
    assert data.batch(range(4)).masks["label"].flatten(1).any(1).tolist() == [True, True, True, False]
    assert "label of 1 of 4 images (test/a/3.png)" in caplog.text and "1 masks belong to no image" in caplog.text
    put(tmp_path, "masks/label/test/a/1.bmp")
    with pytest.raises(ValueError, match="two masks of one image"):
        classes(tmp_path, split="test", masks="masks")


def test_the_home_folder_is_understood(tmp_path, monkeypatch):
    put(tmp_path, "data/a/0.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(classes(Path("~/data"))) == 1


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (
            ("images/0.png", "labels/0.png"),
            "images, labels are taken as the classes, although images, labels often name parts",
        ),
        (
            ("cat/0.png", "dog/0.png", "annotations/0.png"),
            "although annotations often names parts .* dataset.masks=<name>",
        ),
        (("JPEGImages/0.png", "SegmentationClass/0.png"), "although JPEGImages often"),
        (
            ("fold1/a/0.png", "fold1/b/0.png", "fold2/a/0.png", "fold2/b/0.png"),
            "fold1, fold2 are taken .* they are numbered and hold a, b",
        ),
        (("train/images/0.png", "train/labels/0.png"), "although images, labels often name parts"),
    ],
)
def test_folders_that_are_probably_no_classes_are_named_and_read(tmp_path, paths, text, caplog):
    put(tmp_path, *paths)
    assert len(classes(tmp_path)) == len(paths)
    assert re.search(text, caplog.text) and caplog.text.count("taken as the classes") == 1


@pytest.mark.parametrize(
    "paths",
    [
        ("cat/left/0.png", "cat/right/0.png", "dog/left/0.png", "dog/right/0.png"),
        ("fold1/0.png", "fold2/0.png"),
        ("fold1/a/0.png", "flat/a/0.png"),
        ("mask/0.png", "no_mask/0.png"),
        ("boxer/0.png", "imagination/0.png", "labelled/0.png"),
    ],
)
def test_classes_that_are_in_no_doubt_are_not_named(tmp_path, paths, caplog):
    put(tmp_path, *paths)
    classes(tmp_path)
    assert "taken as" not in caplog.text


def test_a_class_may_be_called_as_a_split_is_elsewhere(tmp_path):
    put(tmp_path, *[f"{name}/0.png" for name in ("dev", "ops")])
    assert classes(tmp_path).class_names == ("dev", "ops")


def test_images_are_listed_at_any_depth_and_nothing_hidden(tmp_path):
    for name in ("b.JPEG", "a/c.jpg", "a/deep/d.png", "a/._c.jpg", ".cache/e.jpg", "@eaDir/f.jpg", "a/list.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(images_below(tmp_path)) == ["a/c.jpg", "a/deep/d.png", "b.JPEG"]
    assert sorted(images_below(tmp_path / "a", tmp_path)) == ["a/c.jpg", "a/deep/d.png"]
