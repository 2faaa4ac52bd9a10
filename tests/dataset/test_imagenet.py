import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.dataset.base import split_by_hash
from pomelo_lab.dataset.imagenet import ImageNet
from pomelo_lab.types import tight_box
from tests.dataset.contract import check_contract
from tests.dataset.fixtures import picture

WNIDS = ("n01440764", "n02012849", "n03126707")  # in sorted order
WORDS = ("tench, Tinca tinca", "crane", "crane")
SIZE = (60, 45)
N_VAL = 12
VAL = {f"ILSVRC2012_val_{i:08d}": WNIDS[i * 7 % 3] for i in range(1, N_VAL + 1)}
SMALL = {"resize_px": 40, "size_px": 32}


def annotation(name: str, objects: list[tuple[str, tuple[int, ...]]], size: tuple[int, int] = SIZE) -> str:
    """A file as the official archives hold it."""
    edges = ("xmin", "ymin", "xmax", "ymax")
    parts = [
        f"<object><name>{wnid}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        + "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(edges, box, strict=True))
        + "</bndbox></object>"
        for wnid, box in objects
    ]
    head = f"<folder>val</folder><filename>{name}</filename><source><database>ILSVRC_2012</database></source>"
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>{head}{sides}{''.join(parts)}</annotation>\n"


def devkit(root: Path) -> None:
    """meta.mat with the classes in an order of its own and a parent class, and the ground truth."""
    from scipy.io import savemat

    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    order = [WNIDS[2], WNIDS[0], WNIDS[1]]
    rows = [(i, wnid, "words", 0) for i, wnid in enumerate(order, start=1)] + [(4, "n00000001", "parent", 3)]
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kinds)[:, None]})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(
        "".join(f"{order.index(VAL[name]) + 1}\n" for name in sorted(VAL))
    )


def make(
    root: Path, kaggle: bool = False, sorted_val: bool = False, labels: str | None = "csv", mapping: bool = True
) -> Path:
    """The official layout (or Kaggle's) with 3 classes, 2 training images of each, and 12 validation images with one to
    two boxes."""
    data, boxes = (
        (root / kind / "CLS-LOC" if kaggle or kind == "Annotations" else root) for kind in ("Data", "Annotations")
    )
    for k, wnid in enumerate(WNIDS):
        for i in range(2):
            path = data / "train" / wnid / f"{wnid}_{10 + i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(10 * k + i, *SIZE).save(path, "JPEG", quality=95)
    first = boxes / "train" / WNIDS[0] / f"{WNIDS[0]}_10.xml"
    first.parent.mkdir(parents=True)
    first.write_text(annotation(first.stem, [(WNIDS[0], (10, 5, 50, 40))]))
    (boxes / "val").mkdir(parents=True)
    for i, (name, wnid) in enumerate(sorted(VAL.items())):
        path = data / "val" / (wnid if sorted_val else "") / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(100 + i, *SIZE).save(path, "JPEG", quality=95)
        others = [(wnid, (0, 0, 60, 45))] if i % 2 else []
        (boxes / "val" / f"{name}.xml").write_text(annotation(name, [(wnid, (15, 9, 45, 36)), *others]))
    if labels == "csv":
        rows = "".join(f"{name},{wnid} 15 9 45 36 \n" for name, wnid in VAL.items())
        (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + rows)
    if labels == "devkit":
        devkit(root)
    if mapping:
        (root / "LOC_synset_mapping.txt").write_text(
            "".join(f"{w} {words}\n" for w, words in zip(WNIDS, WORDS, strict=True))
        )
    return root


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "imagenet")


def data(root, **given) -> ImageNet:
    return ImageNet(root=str(root), **{**SMALL, **given})


def whole(one: ImageNet):
    return one.batch(range(len(one)))


@pytest.mark.parametrize("given", [{}, {"split": "val"}, {"split": "train"}, {"boxes": False}, {"resize_px": 32}])
def test_contract(root, given):
    check_contract(data(root, **given))


def test_default_sizes_are_torchvisions(root):
    assert ImageNet(root=str(root)).shape == (3, 224, 224)


def test_classes_are_the_sorted_wnids_and_equal_names_are_told_apart(root):
    assert data(root).class_names == ("tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)")
    for split in ("train", "val", "test"):
        batch = whole(data(root, split=split))
        for name, label in zip(batch.image_id, batch.label.tolist(), strict=True):
            stem = name.removeprefix("imagenet-")
            assert WNIDS[label] == (VAL[stem] if split != "train" else stem.partition("_")[0])


def test_val_and_test_are_disjoint_halves_of_the_official_validation_images(root):
    ids = {split: set(whole(data(root, split=split)).image_id) for split in ("train", "val", "test")}
    assert ids["val"] | ids["test"] == {f"imagenet-{name}" for name in VAL} and not ids["val"] & ids["test"]
    assert ids["val"] and ids["test"] and len(ids["train"]) == 6 and not ids["train"] & (ids["val"] | ids["test"])
    gone = sorted(ids["val"])[0].removeprefix("imagenet-")
    (root / "val" / f"{gone}.JPEG").unlink()
    assert set(whole(data(root, split="test")).image_id) == ids["test"]


@pytest.mark.parametrize(
    "layout", [{"kaggle": True}, {"sorted_val": True}, {"labels": "devkit"}, {"labels": None}, {"mapping": False}]
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_other_layouts_give_the_same_data(tmp_path, root, layout, split):
    one, other = data(root, split=split), data(make(tmp_path / "other", **layout), split=split)
    assert other.digest() == one.digest()
    assert other.class_names == (WNIDS if "mapping" in layout else one.class_names)
    a, b = whole(one), whole(other)
    assert a.image_id == b.image_id and torch.equal(a.image, b.image) and torch.equal(a.label, b.label)
    assert torch.equal(a.boxes["label"].nan_to_num(-1), b.boxes["label"].nan_to_num(-1))


def test_kaggles_archive_may_be_given_with_its_lists_beside_ilsvrc(tmp_path, root):
    make(tmp_path / "kaggle", kaggle=True)
    (tmp_path / "kaggle" / "ILSVRC").mkdir()
    for name in ("Data", "Annotations"):
        shutil.move(tmp_path / "kaggle" / name, tmp_path / "kaggle" / "ILSVRC" / name)
    for top in (tmp_path / "kaggle", tmp_path / "kaggle" / "ILSVRC"):
        assert data(top).digest() == data(root).digest() and data(top).class_names == data(root).class_names


@pytest.mark.parametrize("place", ["val_boxes", "anywhere", "anywhere/val"])
def test_boxes_may_lie_elsewhere(tmp_path, root, place):
    expected = data(root).digest()
    (root / place).parent.mkdir(exist_ok=True)
    shutil.move(root / "Annotations/CLS-LOC/val", root / place)
    given = {} if place == "val_boxes" else {"boxes_root": str(root / "anywhere")}
    assert data(root, **given).digest() == expected


def test_boxes_are_cut_with_the_image_and_padded(root):
    """60 x 45 becomes 53 x 40, of which 32 x 32 is cut at (10, 4)."""
    one = data(root)
    batch = whole(one)
    assert one.provides == {"label", "boxes"} and batch.boxes["label"].shape == (len(one), 2, 4)
    scale, shift = torch.tensor([53 / 60, 40 / 45] * 2), torch.tensor([10, 4] * 2)
    inner, outer = torch.tensor([15, 9, 45, 36]) * scale - shift, torch.tensor([0.0, 0, 32, 32])
    for row, name in enumerate(batch.image_id):
        boxes = batch.box()[row]
        assert torch.allclose(boxes[0], inner.clamp(0, 32), atol=1e-4)
        two = (int(name[-8:]) - 1) % 2
        assert torch.equal(boxes[1], outer) if two else boxes[1].isnan().all()
    assert not one.unmasked([0]).boxes and torch.equal(one.unmasked([0]).image, batch.image[:1])


def test_the_box_of_an_object_encloses_it_after_resize_and_crop(tmp_path):
    root = make(tmp_path / "imagenet")
    name = next(name for name in VAL if split_by_hash(f"imagenet-{name}", 0.5, 0.5) == "test")
    width, height, box = 500, 375, (120, 60, 333, 290)
    pixels = np.full((height, width, 3), 30, dtype=np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = (250, 30, 30)
    Image.fromarray(pixels).save(root / "val" / f"{name}.JPEG", "JPEG", quality=95)
    (root / "Annotations/CLS-LOC/val" / f"{name}.xml").write_text(annotation(name, [(VAL[name], box)], (width, height)))
    one = ImageNet(root=str(root))
    row = [i for i in range(len(one)) if one.unmasked([i]).image_id[0].endswith(name)]
    batch = one.batch(row)
    assert torch.allclose(batch.box()[0, 0], tight_box(batch.image[0, 0] > 0.5), atol=1.0, rtol=0)


def test_boxes_of_other_classes_and_outside_the_crop_are_left_out(root):
    name = next(name for name in VAL if split_by_hash(f"imagenet-{name}", 0.5, 0.5) == "test")
    other = next(w for w in WNIDS if w != VAL[name])
    objects = [(other, (20, 10, 40, 30)), (VAL[name], (0, 0, 5, 45)), (VAL[name], (20, 10, 40, 30))]
    (root / "Annotations/CLS-LOC/val" / f"{name}.xml").write_text(annotation(name, objects))
    one = data(root)
    boxes = one.batch([one._files.index(f"{name}.JPEG")]).boxes["label"]
    assert boxes.shape == (1, 1, 4) and boxes.isfinite().all() and boxes[0, 0, 0] > 0


def test_an_annotation_without_size_refers_to_the_file(root):
    path = root / "Annotations/CLS-LOC/val"
    before = whole(data(root)).boxes["label"]
    for file in path.glob("*.xml"):
        file.write_text(re.sub("<size>.*</size>", "", file.read_text()))
    assert torch.equal(whole(data(root)).boxes["label"].nan_to_num(-1), before.nan_to_num(-1))


def test_training_images_without_annotation_have_no_box(root):
    boxes = whole(data(root, split="train")).boxes["label"]
    assert boxes.shape == (6, 1, 4) and boxes[0].isfinite().all() and boxes[1:].isnan().all()
    shutil.rmtree(root / "Annotations/CLS-LOC/train")
    assert whole(data(root, split="train")).boxes["label"].isnan().all()


def test_features_follow_the_arguments_before_any_file_is_read(root):
    assert ImageNet.features({}) == {"label", "boxes"} and ImageNet.features({"boxes": False}) == {"label"}
    shutil.rmtree(root / "Annotations")
    assert data(root, boxes=False).provides == {"label"} and not data(root, boxes=False).batch([0]).boxes


def test_constructing_reads_no_image(root, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("an image was opened"))
    data(root).digest()


def test_digest_ignores_the_place_and_sees_labels_files_and_boxes(tmp_path, root):
    shutil.copytree(root, tmp_path / "copy")
    first = data(root).digest()
    assert data(tmp_path / "copy").digest() == first
    name = next(name for name in VAL if split_by_hash(f"imagenet-{name}", 0.5, 0.5) == "test")
    digests = [
        first,
        data(root, split="val").digest(),
        data(root, split="train").digest(),
        data(root, boxes=False).digest(),
    ]
    (root / "Annotations/CLS-LOC/val" / f"{name}.xml").write_text(annotation(name, [(VAL[name], (1, 2, 30, 40))]))
    digests.append(data(root).digest())
    Image.new("RGB", SIZE).save(root / "val" / f"{name}.JPEG", "JPEG")
    digests.append(data(root).digest())
    path = root / "LOC_val_solution.csv"
    path.write_text(
        path.read_text().replace(f"{name},{VAL[name]}", f"{name},{next(w for w in WNIDS if w != VAL[name])}")
    )
    digests.append(data(root).digest())
    assert len(set(digests)) == len(digests)
