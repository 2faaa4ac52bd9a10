import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.config.signature import node_problems
from pomelo_lab.dataset.chexpert import OBSERVATIONS, CheXpert
from tests.dataset.contract import check_contract
from tests.dataset.fixtures import make_chexpert, truncate

TARGET = "pomelo_lab.dataset.chexpert.CheXpert"
RELEASE = "CheXpert-v1.0-small"
FIRST = f"{RELEASE}/valid/patient64541/study1/view1_frontal.jpg"


@pytest.fixture
def root(tmp_path):
    return make_chexpert(tmp_path / "data")


def data(root, **given) -> CheXpert:
    return CheXpert(root=str(root), **{"size_px": 32, **given})


@pytest.mark.parametrize(
    "given", [{}, {"split": "train", "views": "all"}, {"channels": 1}, {"resize_px": 48, "label": "Edema"}]
)
def test_contract(root, given):
    check_contract(data(root, **given))


def named(dataset: CheXpert) -> dict[str, str]:
    batch = dataset.batch(range(len(dataset)))
    return {name: dataset.class_names[k] for name, k in zip(batch.image_id, batch.label.tolist(), strict=True)}


@pytest.mark.parametrize(
    ("uncertain", "label"), [("ones", "Pleural Effusion"), ("zeros", "not Pleural Effusion"), ("drop", None)]
)
def test_uncertain_labels_are_present_absent_or_dropped(root, uncertain, label):
    labels = named(data(root, split="train", uncertain=uncertain))
    assert labels.pop("chexpert-train/patient00002/study2/view1_frontal", None) == label
    assert labels == {
        "chexpert-train/patient00001/study1/view1_frontal": "not Pleural Effusion",  # not mentioned
        "chexpert-train/patient00002/study1/view1_frontal": "Pleural Effusion",
        "chexpert-train/patient00003/study1/view1_frontal": "not Pleural Effusion",
    }


@pytest.mark.parametrize(("uncertain", "present"), [("ones", True), ("zeros", False), ("drop", False)])
def test_other_uncertain_observations_drop_no_image(root, uncertain, present):
    batch = data(root, split="train", uncertain=uncertain).batch([1])  # effusion stated, edema uncertain
    assert batch.attributes.shape == (1, 14) and batch.attributes[0, OBSERVATIONS.index("Edema")] == present
    assert batch.attributes[0, OBSERVATIONS.index("Pleural Effusion")] and batch.label.tolist() == [1]


@pytest.mark.parametrize("label", ["No Finding", "Edema", "Support Devices"])
def test_the_label_is_its_attribute(root, label):
    dataset = data(root, split="train", label=label, views="all")
    batch = dataset.batch(range(len(dataset)))
    assert torch.equal(batch.label.bool(), batch.attributes[:, OBSERVATIONS.index(label)]) and batch.label.sum() == (
        3 if label == "Edema" else 1
    )
    assert dataset.class_names == CheXpert.classes({"label": label}) == (f"not {label}", label)


@pytest.mark.parametrize(("views", "n"), [("frontal", (4, 2, 1)), ("lateral", (1, 1, None)), ("all", (5, 3, 1))])
def test_views_by_the_list_or_by_the_name_of_the_file(root, views, n):
    for split, count in zip(("train", "val", "test"), n, strict=True):
        if count is None:
            with pytest.raises(ValueError, match="test_labels.csv lists no image with views=lateral"):
                data(root, split=split, views=views)
            continue
        images_read = data(root, split=split, views=views).batch(range(count))
        assert len(data(root, split=split, views=views)) == count
        assert views == "all" or all(name.endswith(views) for name in images_read.image_id)


def test_pixels_are_the_centre_square_of_the_gray_file(root):
    file = Image.open(root / FIRST)
    cut = np.array(file.resize((40, 32), Image.Resampling.BILINEAR).crop((4, 0, 36, 32)))
    gray, three = (data(root, channels=channels).batch([0]).image[0] for channels in (1, 3))
    assert torch.equal(gray[0].mul(255).round().to(torch.uint8), torch.from_numpy(cut))
    assert gray.shape == (1, 32, 32) and torch.equal(three, gray.expand(3, -1, -1))
    wide = data(root, channels=1, resize_px=48).batch([0]).image[0]
    assert torch.equal(wide, data(root, channels=1, size_px=48).batch([0]).image[0][:, 8:40, 8:40])


def test_other_releases_places_and_lists_give_the_same_data(tmp_path, root):
    full = make_chexpert(tmp_path / "full", "CheXpert-v1.0")
    for other in (full, full / "CheXpert-v1.0", root / RELEASE):
        assert data(other).digest() == data(root).digest() and torch.equal(
            data(other).batch([1]).image, data(root).batch([1]).image
        )
    before = named(data(root, split="test"))
    (root / RELEASE / "test_labels.csv").rename(root / RELEASE / "test.csv")
    assert (
        named(data(root, split="test"))
        == before
        == {"chexpert-test/patient64741/study1/view1_frontal": "Pleural Effusion"}
    )


def test_constructing_reads_no_image(root, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("an image was opened"))
    data(root)


def test_digest_sees_labels_attributes_and_files(root):
    given = [{}, {"uncertain": "zeros"}, {"label": "Support Devices"}, {"views": "all"}, {"split": "val"}]
    digests = [data(root, **{"split": "train", **one}).digest() for one in given]
    Image.new("L", (80, 64)).save(root / RELEASE / "train/patient00001/study1/view1_frontal.jpg")
    digests.append(data(root, split="train").digest())
    assert len(set(digests)) == len(digests)


def test_the_digest_of_images_is_the_same_for_all_labels(root):
    one, other = data(root, split="train"), data(root, split="train", label="Support Devices")
    assert one.digest() != other.digest() and one.image_digest() == other.image_digest()
    assert data(root, split="val").image_digest() != one.image_digest()


def test_training_without_labels_sees_the_label_only_where_it_drops_images():
    assert (
        CheXpert.label_arguments({"uncertain": "ones"}) == ("label",)
        and CheXpert.label_arguments({"uncertain": "drop"}) == ()
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"label": "Pleural effusion"},
            r"dataset\.label must be one of No Finding, .*got 'Pleural effusion', did you "
            r"mean 'Pleural Effusion'",
        ),
        (
            {"uncertain": "one"},
            r"dataset\.uncertain must be one of 'ones', 'zeros', 'drop', got 'one', did you mean "
            r"'ones'",
        ),
        ({"channels": 2}, r"dataset\.channels must be one of 1, 3, got 2"),
        ({"size_px": 64, "resize_px": 32}, r"dataset\.size_px must be <= resize_px, got 64 and 32"),
    ],
)
def test_wrong_arguments_are_found_by_the_constructor_and_the_config_check(root, given, message):
    with pytest.raises(ValueError, match=message):
        data(root, **given)
    problems = node_problems({"_target_": TARGET, "root": "x", **given}, "dataset")
    assert any(re.search(message, problem) for problem in problems), problems


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Frontal,AP", "Front,AP", r"valid\.csv line 2: the view must be Frontal or Lateral, got 'front'"),
        ("68,", "68,,", r"valid\.csv line 2: expected 19 cells, got 20"),
        (",1.0", ",yes", r"valid\.csv line 2: Cardiomegaly must be 1.0, 0.0, -1.0 or blank, got 'yes'"),
        (
            f"{RELEASE}/valid/",
            f"{RELEASE}/",
            r"valid\.csv line 2: Path must contain train/, valid/ or test/, got "
            r"'CheXpert-v1.0-small/patient64541",
        ),
        ("Pleural Effusion", "Effusion", r"valid\.csv line 1: the header does not name Pleural Effusion"),
    ],
)
def test_bad_rows_name_the_file_and_the_line(root, old, new, message):
    path = root / RELEASE / "valid.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        data(root)


@pytest.mark.parametrize(
    ("split", "remove", "expected"),
    [
        (
            "val",
            "valid.csv",
            ("list of CheXpert's split 'val'", "valid.csv", "stanfordmlgroup", "nothing is downloaded"),
        ),
        ("test", "test_labels.csv", ("list of CheXpert's split 'test'", "test_labels.csv", "test.csv")),
        ("train", "train", ("images of CheXpert", "expected layout")),
    ],
)
def test_a_missing_file_names_path_layout_and_source(root, split, remove, expected):
    path = root / RELEASE / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        data(root, split=split)
    assert str(path.parent) in str(error.value) and all(text in str(error.value) for text in expected)


def test_a_missing_or_truncated_image_is_named(root):
    dataset = data(root)
    truncate(root / FIRST)
    with pytest.raises(ValueError, match=r"view1_frontal\.jpg cannot be decoded .*remove"):
        dataset.batch([0])
    (root / FIRST).unlink()
    with pytest.raises(FileNotFoundError, match=r"patient64541/study1/view1_frontal\.jpg"):
        dataset.batch([0])
