import shutil

import pytest
import torch
from PIL import Image

from pomelo_lab.dataset.image_file import read_image, to_unit
from pomelo_lab.dataset.image_folder import ImageFolder
from tests.dataset.contract import check_contract
from tests.dataset.fixtures import make_image_folder, picture, truncate

SPLITS = ("train", "val", "test")


def folder(root, **given) -> ImageFolder:
    return ImageFolder(root=str(root), **{"size_px": 16, **given})


def test_contract_with_everything(tmp_path):
    make_image_folder(tmp_path, {"cat": 5, "dog": 4}, SPLITS, masks=("label", "ear"), attributes=("furry", "big"))
    given = {"masks": "masks", "attributes": "attributes.csv"}
    check_contract(folder(tmp_path, **given))


def test_contract_of_the_plain_layout(tmp_path):
    make_image_folder(tmp_path, {"cat": 20, "dog": 20})
    check_contract(folder(tmp_path, split="train"))


def test_classes_are_sorted_and_pixels_are_those_of_the_file(tmp_path):
    make_image_folder(tmp_path, {"zebra": 2, "ant": 3}, SPLITS)
    data = folder(tmp_path, split="val")
    batch = data.batch([4, 0])
    assert data.class_names == ("ant", "zebra") and data.num_classes == 2
    assert batch.image_id == ("val/zebra/001.png", "val/ant/000.png") and batch.label.tolist() == [1, 0]
    assert torch.equal(batch.image[0], to_unit(read_image(tmp_path / "val/zebra/001.png", 16)[0]))


def test_hash_split_is_complete_disjoint_and_stable_under_new_images(tmp_path):
    make_image_folder(tmp_path, {"a": 60, "b": 60})
    before = {
        split: set(folder(tmp_path, split=split).batch(range(len(folder(tmp_path, split=split)))).image_id)
        for split in SPLITS
    }
    assert len(set.union(*before.values())) == 120 == sum(map(len, before.values()))
    assert 5 <= len(before["val"]) <= 35 and 5 <= len(before["test"]) <= 35
    picture(5, 20, 20).save(tmp_path / "a" / "999.png")
    after = {split: set(folder(tmp_path, split=split)._files) for split in SPLITS}
    assert all(before[split] <= after[split] for split in SPLITS)
    assert set(folder(tmp_path, split="test", seed=1)._files) != after["test"]


def test_fractions_of_zero_put_everything_in_train(tmp_path):
    make_image_folder(tmp_path, {"a": 6})
    given = {"val_fraction": 0.0, "test_fraction": 0.0}
    assert len(folder(tmp_path, split="train", **given)) == 6
    with pytest.raises(ValueError, match="split 'test' of .* holds no images; .*test_fraction=0"):
        folder(tmp_path, **given)


def test_a_class_may_be_absent_from_one_split_without_moving_the_numbers(tmp_path):
    make_image_folder(tmp_path, {"a": 2, "b": 2, "c": 2}, SPLITS)
    shutil.rmtree(tmp_path / "test" / "b")
    data = folder(tmp_path)
    assert data.class_names == ("a", "b", "c") and data.batch(range(4)).label.tolist() == [0, 0, 2, 2]


def test_masks_follow_the_crop_and_a_missing_one_is_empty(tmp_path):
    make_image_folder(tmp_path, {"a": 2}, SPLITS, size=(64, 32), masks=("label",))
    (tmp_path / "masks/label/test/a/001.png").unlink()
    masks = folder(tmp_path, masks="masks").batch([0, 1]).masks["label"]
    assert masks[0, :, :8].all() and not masks[0, :, 8:].any() and not masks[1].any()


def test_the_folder_of_masks_is_no_class(tmp_path):
    make_image_folder(tmp_path, {"a": 9, "b": 9}, masks=("label",))
    assert folder(tmp_path, split="train", masks="masks").class_names == ("a", "b")


def test_attributes_by_path_or_by_unique_name_and_minus_one_as_no(tmp_path):
    make_image_folder(tmp_path, {"a": 2}, ("test",))
    (tmp_path / "t.csv").write_text("file,x,y\n001.png,1,-1\ntest/a/000.png,0,1\n")
    data = folder(tmp_path, attributes="t.csv")
    assert data.attribute_names == ("x", "y")
    assert data.batch([0, 1]).attributes.tolist() == [[False, True], [True, False]]


def test_features_follow_the_arguments():
    assert ImageFolder.features({}) == {"label"}
    assert ImageFolder.features({"masks": "m", "attributes": None}) == {"label", "masks"}
    assert ImageFolder.features({"attributes": "a.csv"}) == {"label", "attributes"}


def test_digest_ignores_the_place_and_sees_files_and_csv(tmp_path):
    given = {"masks": "masks", "attributes": "attributes.csv"}
    make_image_folder(tmp_path / "one", {"a": 3}, SPLITS, masks=("label",), attributes=("x",))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first = folder(tmp_path / "one", **given).digest()
    assert folder(tmp_path / "two", **given).digest() == first
    picture(99, 40, 30).save(tmp_path / "two/test/a/new.png")
    (tmp_path / "two/attributes.csv").open("a").write("test/a/new.png,1\n")
    with_image = folder(tmp_path / "two", **given).digest()
    Image.new("L", (40, 30)).save(tmp_path / "two/masks/label/test/a/000.png")
    with_mask = folder(tmp_path / "two", **given).digest()
    text = (tmp_path / "two/attributes.csv").read_text()
    (tmp_path / "two/attributes.csv").write_text(text.replace("test/a/new.png,1", "test/a/new.png,0"))
    assert len({first, with_image, with_mask, folder(tmp_path / "two", **given).digest()}) == 4


def broken_no_root(root):
    return {"root": str(root / "nowhere")}, ("nowhere", "expected layout", "<class>")


def broken_no_classes(root):
    shutil.rmtree(root)
    root.mkdir()
    return {}, (str(root), "no class folders", "expected layout")


def broken_empty_class(root):
    (root / "test" / "empty_one").mkdir()
    return {}, ("test/empty_one", "no images")


def broken_split_absent(root):
    shutil.rmtree(root / "val")
    return {"split": "val"}, ("'val'", "only train, test")


def broken_no_masks(root):
    return {"masks": "segmentation"}, ("segmentation", "<masks>/<part>")


def broken_no_parts(root):
    (root / "flat").mkdir()
    return {"masks": "flat"}, ("flat", "no folder per part")


def broken_mask_names(root):
    (root / "masks" / "other" / "test").mkdir(parents=True)
    return {"masks": "masks"}, ("masks/other", "masks/other/test/cat/000.png")


def broken_no_csv(root):
    return {"attributes": "none.csv"}, ("none.csv", "expected layout")


def broken_binary_csv(root):
    (root / "b.csv").write_bytes(b"\xff\xfe\x00\x81file,x\n")
    return {"attributes": "b.csv"}, ("b.csv", "cannot be read")


def broken_csv_header(root):
    (root / "b.csv").write_text("")
    return {"attributes": "b.csv"}, ("b.csv line 1", "header")


def broken_csv_cells(root):
    (root / "b.csv").write_text("file,x\ntest/cat/000.png,1,1\n")
    return {"attributes": "b.csv"}, ("b.csv line 2", "3 cells")


def broken_csv_value(root):
    (root / "b.csv").write_text("file,x\ntest/cat/000.png,yes\n")
    return {"attributes": "b.csv"}, ("b.csv line 2", "'yes'")


def broken_csv_unknown_file(root):
    (root / "b.csv").write_text("file,x\ntest/cat/777.png,1\n")
    return {"attributes": "b.csv"}, ("b.csv line 2", "'test/cat/777.png' is no image")


def broken_csv_ambiguous_name(root):
    (root / "b.csv").write_text("file,x\n000.png,1\n")
    return {"attributes": "b.csv"}, ("b.csv line 2", "name of 3 images")


def broken_csv_row_missing(root):
    (root / "b.csv").write_text("file,x\ntest/cat/000.png,1\n")
    return {"attributes": "b.csv"}, ("no row", "test/cat/001.png")


def broken_fractions(root):
    return {"val_fraction": 0.5, "test_fraction": 0.6}, ("dataset.val_fraction + test_fraction", "1.1")


@pytest.mark.parametrize("breaks", [thing for name, thing in list(globals().items()) if name.startswith("broken_")])
def test_a_broken_layout_is_named(tmp_path, breaks):
    root = make_image_folder(tmp_path / "data", {"cat": 2}, SPLITS, masks=("label",), attributes=("x",))
    given, expected = breaks(root)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        ImageFolder(**{"root": str(root), "size_px": 16, **given})
    for text in expected:
        assert text in str(error.value)


def test_a_truncated_image_is_named_when_it_is_read(tmp_path):
    make_image_folder(tmp_path, {"cat": 2}, SPLITS)
    truncate(tmp_path / "test/cat/001.png")
    data = folder(tmp_path)
    data.batch([0])
    with pytest.raises(ValueError, match=r"test/cat/001\.png cannot be decoded .*remove"):
        data.batch([0, 1])


def test_the_config_check_reports_a_missing_root(tmp_path):
    from pomelo_lab.config.signature import node_problems

    node = {"_target_": "pomelo_lab.dataset.image_folder.ImageFolder", "root": "???", "val_fraction": 1.0}
    assert node_problems(node, "dataset") == [
        "dataset.root is missing: expected a text",
        "dataset.val_fraction must be < 1, got 1.0",
    ]
