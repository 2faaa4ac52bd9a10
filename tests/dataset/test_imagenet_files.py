"""ImageNet's files: what is missing or broken is named, and masks are read beside boxes."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.config.signature import node_problems
from pomelo_lab.dataset.imagenet import ImageNet
from pomelo_lab.types import tight_box
from tests.dataset.fixtures import truncate
from tests.dataset.test_imagenet import SIZE, VAL, WNIDS, data, devkit, make, whole


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "imagenet")


def test_wrong_arguments_are_found_by_the_constructor_and_the_config_check(root):
    message = r"dataset\.size_px must be <= resize_px, got 50 and 40"
    with pytest.raises(ValueError, match=message):
        data(root, size_px=50)
    node = {"_target_": "pomelo_lab.dataset.imagenet.ImageNet", "root": "x", "resize_px": 40, "size_px": 50}
    (problem,) = node_problems(node, "dataset")
    assert re.match(message, problem)
    assert node_problems({**node, "root": "???", "size_px": 40}, "dataset") == [
        "dataset.root is missing: expected a text"
    ]


def without(*names):
    def breaks(root):
        for name in names:
            shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()

    return breaks


@pytest.mark.parametrize(
    ("breaks", "given", "expected"),
    [
        (
            without("val"),
            {},
            ("validation images of ImageNet", "val", "image-net.org", "nothing is downloaded", "expected layout"),
        ),
        (without("train"), {"split": "train"}, ("training images of ImageNet", "train", "image-net.org")),
        (
            without("Annotations"),
            {},
            ("boxes of ImageNet", "Annotations/CLS-LOC/val", "dataset.boxes=false", "image-net.org"),
        ),
        (
            without("LOC_val_solution.csv", "Annotations"),
            {"boxes": False},
            ("labels of ImageNet's unsorted", "LOC_val_solution.csv", "meta.mat"),
        ),
    ],
)
def test_a_missing_part_names_path_layout_and_source(root, breaks, given, expected):
    breaks(root)
    with pytest.raises(FileNotFoundError) as error:
        data(root, **given)
    assert str(root) in str(error.value) and all(text in str(error.value) for text in expected)


def test_a_ground_truth_without_the_devkits_order_is_no_label(tmp_path):
    root = make(tmp_path, labels="devkit")
    without("Annotations", "ILSVRC2012_devkit_t12/data/meta.mat")(root)
    with pytest.raises(FileNotFoundError, match="the numbers of .*ground_truth.txt need the devkit's meta.mat"):
        data(root, boxes=False)


def broken_mapping(root):
    (root / "LOC_synset_mapping.txt").write_text("n01440764 tench\n1 goldfish\n")
    return ("LOC_synset_mapping.txt line 2", "1 goldfish")


def broken_solution(root):
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,tench 1 2 3 4\n")
    return ("LOC_val_solution.csv line 2", "tench")


def broken_incomplete_solution(root):
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4\n")
    return ("LOC_val_solution.csv does not say the class of ILSVRC2012_val_00000002",)


def broken_unknown_class(root):
    (root / "LOC_synset_mapping.txt").write_text("n01440764 tench\n")
    return ("not one of the 1 known", "LOC_synset_mapping.txt, else")


def broken_class_folder(root):
    (root / "val/cats").mkdir()
    for path in (root / "val").glob("*.JPEG"):
        path.rename(root / "val/cats" / path.name)
    return ("val/cats/", "WordNet id", "image_folder", "expected layout")


def broken_devkit(root):
    (root / "LOC_val_solution.csv").unlink()
    devkit(root)
    (root / "ILSVRC2012_devkit_t12/data/meta.mat").write_bytes(b"no mat file")
    return ("meta.mat is not the devkit's",)


def broken_ground_truth(root):
    (root / "LOC_val_solution.csv").unlink()
    devkit(root)
    (root / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt").write_text("1\n1001\n")
    return ("ground_truth.txt line 2", "'1001'")


def broken_empty_val(root):
    for path in (root / "val").glob("*.JPEG"):
        path.unlink()
    return ("validation images of ImageNet not found", "expected layout")


def broken_boxes_of_other_images(root):
    for path in (root / "Annotations/CLS-LOC/val").glob("*.xml"):
        path.rename(path.with_name("other" + path.name))
    return ("a box of any image of split 'test'", "dataset.boxes=false")


@pytest.mark.parametrize("breaks", [thing for name, thing in list(globals().items()) if name.startswith("broken_")])
def test_a_broken_layout_is_named(root, breaks):
    expected = breaks(root)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        data(root)
    for text in expected:
        assert text in str(error.value)


def test_a_truncated_image_and_a_broken_annotation_are_named_when_read(root):
    one = data(root)
    names = [Path(file).stem for file in one._files[:2]]
    truncate(root / "val" / f"{names[0]}.JPEG")
    with pytest.raises(ValueError, match=rf"{names[0]}\.JPEG cannot be decoded .*remove"):
        one.batch([0])
    truncate(root / "Annotations/CLS-LOC/val" / f"{names[1]}.xml")
    with pytest.raises(ValueError, match=rf"{names[1]}\.xml cannot be read as an annotation"):
        one.batch([1])


def masks_of(root: Path, folder: Path, size: tuple[int, int] = SIZE) -> Path:
    """A mask of every validation image: the box of the label in its annotation, drawn."""
    folder.mkdir()
    for name in VAL:
        mask = np.zeros((size[1], size[0]), dtype=np.uint8)
        mask[9:36, 15:45] = 255
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def test_masks_from_boxes_and_from_files_are_the_same_where_the_files_hold_the_boxes(tmp_path, root):
    from_files, from_boxes = (
        whole(data(root, masks=str(masks_of(root, tmp_path / "masks")))),
        whole(data(root, masks="boxes")),
    )
    single = from_boxes.boxes["label"][:, 1].isnan().all(-1)  # every second image has one box more
    assert data(root, masks="boxes").provides == {"label", "boxes", "masks"} == ImageNet.features({"masks": "boxes"})
    shares = from_boxes.masks["label"].float().mean((1, 2))
    assert 0 < int(single.sum()) < len(single) and shares[~single].mean() > shares[single].mean()
    drawn, meant = from_files.masks["label"][single], from_boxes.masks["label"][single]
    assert drawn.any() and (drawn ^ meant).float().mean() < 0.04  # rounded edges
    for row in single.nonzero()[:, 0].tolist():
        edges = tight_box(from_boxes.masks["label"][row])
        assert (edges - from_boxes.boxes["label"][row, 0]).abs().max() <= 1
    assert torch.equal(from_files.image, whole(data(root)).image)


def test_masks_are_in_the_digest_and_their_place_is_not(tmp_path, root):
    here, there = masks_of(root, tmp_path / "here"), masks_of(root, tmp_path / "there")
    assert data(root, masks=str(here)).digest() == data(root, masks=str(there)).digest()
    for file in there.glob("*.png"):
        Image.fromarray(np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)).save(file)
    others = {data(root, masks=str(there)).digest(), data(root, masks="boxes").digest(), data(root).digest()}
    assert len(others | {data(root, masks=str(here)).digest()}) == 4


def test_masks_of_another_size_or_none_at_all_are_named(tmp_path, root):
    wrong = masks_of(root, tmp_path / "wrong", (30, 50))
    with pytest.raises(ValueError, match="has 30x50 pixels, its image 60x45"):
        data(root, masks=str(wrong)).batch([0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="a mask of any image of split"):
        data(root, masks=str(tmp_path / "empty"))
    node = {"_target_": "pomelo_lab.dataset.imagenet.ImageNet", "root": str(root), "masks": "boxes", "boxes": False}
    assert node_problems(node, "dataset") == ["dataset.masks=boxes needs boxes=true, got false"]


def test_some_classes_keep_their_numbers(root):
    every, some = data(root), data(root, only_classes=[0, WNIDS[2]])
    assert set(some.labels(range(len(some))).tolist()) == {0, 2} and some.class_names == every.class_names
    assert len(some) == int((every.labels(range(len(every))) != 1).sum()) and some.digest() != every.digest()
    for wrong in ([3], ["n09999999"]):
        with pytest.raises(ValueError, match="dataset.only_classes must be numbers below 3 or known wnids"):
            data(root, only_classes=wrong)


def test_table_1_runs_on_birds_of_imagenet(tmp_path, root):
    """The preset of Table 1 with masks from boxes, on the fixture's files."""
    from pomelo_lab.results.grid import cells
    from pomelo_lab.run import run

    given = (
        f"dataset.root={root}",
        "dataset=imagenet_birds",
        "dataset.only_classes=[0,1]",
        "dataset.resize_px=40",
        "dataset.size_px=32",
    )
    network = (
        "classifier=plain",
        "classifier.width=4",
        "classifier.weights=null",
        "metrics.removal_lpips_oracle=null",
        "images=all",
    )
    (cell,) = cells(
        "agarwal_table1",
        [*given, *network, "sampler=mean_dataset", "scale=smoke", "tracking=none", f"paths.outputs={tmp_path}"],
    )
    run(cell.config)
    assert cell.summary["removal_accuracy"]["n"] == cell.summary["kept_accuracy"]["n"] == 4
