import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pomelo_lab.config.signature import node_problems
from pomelo_lab.dataset.celeba import PARTS, CelebA, labels, mask_file
from pomelo_lab.dataset.celeba_files import ATTRIBUTES
from tests.dataset.contract import check_contract
from tests.dataset.fixtures import make_celeba, make_celebamask_hq, truncate

TARGET = "pomelo_lab.dataset.celeba.CelebA"


@pytest.fixture
def root(tmp_path):
    return make_celeba(tmp_path / "celeba")


@pytest.fixture
def masks_root(tmp_path):
    return make_celebamask_hq(tmp_path / "hq")


def hq(root, masks_root, **given) -> CelebA:
    return CelebA(**{"root": str(root), "frame": "hq", "masks_root": str(masks_root), "masked_only": True, **given})


@pytest.mark.parametrize("given", [{}, {"split": "train", "label": "Male"}, {"size_px": 16, "crop_px": 100}])
def test_contract_of_the_aligned_frame(root, given):
    check_contract(CelebA(root=str(root), **given))


@pytest.mark.parametrize("given", [{}, {"masked_only": False}, {"label": "Smiling", "size_px": 32}])
def test_contract_of_the_hq_frame(root, masks_root, given):
    check_contract(hq(root, masks_root, **given))


def test_hair_colour_by_the_official_partition_without_ambiguous_images(root):
    expected = {
        "train": {"000001": "blond", "000002": "black"},
        "val": {"000003": "gray", "000006": "bald", "000007": "brown", "000008": "blond"},  # 4 and 5 are ambiguous
        "test": {"000009": "black"},
    }
    data = CelebA(root=str(root))
    assert data.class_names == ("blond", "black", "gray", "brown", "bald") and data.shape == (3, 64, 64)
    for split, rows in expected.items():
        batch = data.at(split).batch(range(len(rows)))
        assert len(data.at(split)) == len(rows)
        assert {
            name[-6:]: data.class_names[k] for name, k in zip(batch.image_id, batch.label.tolist(), strict=True)
        } == rows


def test_an_attribute_as_label_keeps_every_image(root):
    data = CelebA(root=str(root), label="Smiling")
    assert data.class_names == CelebA.classes({"label": "Smiling"}) == ("not Smiling", "Smiling")
    assert data.batch(range(len(data))).label.tolist() == [1, 0, 1, 0, 0, 1]  # 3 to 8


def test_labels_of_all_hair_combinations():
    table = torch.zeros(32, 40, dtype=torch.bool)
    columns = [ATTRIBUTES.index(name) for name in ("Blond_Hair", "Black_Hair", "Gray_Hair", "Brown_Hair", "Bald")]
    for code in range(32):
        table[code, columns] = torch.tensor([bool(code >> bit & 1) for bit in range(5)])
    label, kept = labels(table, "hair_color")
    assert kept.nonzero().flatten().tolist() == [1, 2, 4, 8, 16] and label[kept].tolist() == [0, 1, 2, 3, 4]


def test_attributes_are_all_forty(root):
    data = CelebA(root=str(root))
    row = data.batch([3]).attributes[0]  # 000008
    assert data.attribute_names == ATTRIBUTES
    assert {name for name, on in zip(ATTRIBUTES, row.tolist(), strict=True) if on} == {
        "Blond_Hair",
        "Smiling",
        "Eyeglasses",
    }


def test_pixels_are_the_centre_square_resized(root):
    image = CelebA(root=str(root)).batch([0]).image[0]
    file = (
        Image.open(root / "img_align_celeba/000003.jpg")
        .crop((0, 20, 178, 198))
        .resize((64, 64), Image.Resampling.BILINEAR)
    )
    assert torch.equal(image.mul(255).round().to(torch.uint8), torch.from_numpy(np.array(file)).permute(2, 0, 1))
    assert torch.equal(image, CelebA(root=str(root), crop_px=178).batch([0]).image[0])
    assert not torch.equal(image, CelebA(root=str(root), crop_px=100).batch([0]).image[0])


@pytest.mark.parametrize("layout", ["kaggle", "nested", "drive"])
def test_other_layouts_give_the_same_data(tmp_path, root, layout):
    other = tmp_path / layout
    if layout == "kaggle":
        make_celeba(other, kaggle=True)
    elif layout == "nested":
        make_celeba(other / "celeba")
    else:
        make_celeba(other / "Img")
        for stem, folder in (("list_attr_celeba", "Anno"), ("list_eval_partition", "Eval")):
            (other / folder).mkdir()
            shutil.move(other / "Img" / f"{stem}.txt", other / folder / f"{stem}.txt")
    assert CelebA(root=str(other)).digest() == CelebA(root=str(root)).digest()
    assert torch.equal(CelebA(root=str(other)).batch([0]).image, CelebA(root=str(root)).batch([0]).image)


def test_hq_images_follow_the_mapping_and_the_partition(root, masks_root):
    data = hq(root, masks_root)
    batch = data.batch(range(len(data)))
    # HQ 0 -> 8 blond, 1 -> 3 gray, 2 -> 6 bald, 2001 -> 7 brown; 3 is test, 4 ambiguous, 2002 train
    assert batch.image_id == tuple(f"celeba-hq-{number}" for number in (0, 1, 2, 2001))
    assert [data.class_names[k] for k in batch.label.tolist()] == ["blond", "gray", "bald", "brown"]
    file = Image.open(masks_root / "CelebA-HQ-img/2001.jpg").resize((64, 64), Image.Resampling.BILINEAR)
    assert torch.equal(
        batch.image[3].mul(255).round().to(torch.uint8), torch.from_numpy(np.array(file)).permute(2, 0, 1)
    )
    assert (
        batch.attributes[0, ATTRIBUTES.index("Eyeglasses")] and not batch.attributes[1, ATTRIBUTES.index("Eyeglasses")]
    )
    assert len(data.at("train")) == 1 and len(data.at("test")) == 1


def test_masks_lie_where_they_were_painted(root, masks_root):
    data = hq(root, masks_root)
    masks = data.batch([0, 3]).masks
    assert set(masks) == {*PARTS, "label"} and data.part_names == PARTS
    hair = torch.zeros(64, 64, dtype=torch.bool)
    hair[:20, 16:48] = True
    for row in range(2):
        assert torch.equal(masks["hair"][row], hair) and torch.equal(masks["label"][row], hair)
        assert masks["eyes"][row].sum() == 2 * 8 * 4 and masks["mouth"][row].sum() == 8 * 4
        assert masks["skin"][row].sum() == 32 * 28 - 2 * 8 * 4 - 8 * 4  # hair, eyes and mouth are painted over the skin
        assert masks["clothes"][row, 56:].all() and not masks["hat"][row].any()
        assert masks["background"][row, 30, 5]
    assert torch.equal(sum(masks[part].int() for part in PARTS), torch.ones(2, 64, 64, dtype=torch.int32))


def test_images_without_hair_are_dropped_only_when_masks_are_asked_for(tmp_path, root):
    folder = make_celebamask_hq(tmp_path / "partial", no_hair=[2], empty_hair=[1])
    batch = hq(root, folder).batch(range(len(hq(root, folder))))
    assert batch.image_id == ("celeba-hq-0", "celeba-hq-2001") and batch.masks["label"].flatten(1).any(1).all()
    assert batch.index.tolist() == [0, 1]
    without = hq(root, folder, masked_only=False)
    assert len(without) == 4 and not without.batch([0]).masks and without.part_names == ()


def test_only_labels_about_hair_have_the_label_mask(root, masks_root):
    assert "label" in hq(root, masks_root, label="Blond_Hair").batch([0]).masks
    assert "label" not in hq(root, masks_root, label="Smiling").batch([0]).masks


def test_official_mask_folders(tmp_path):
    assert mask_file(tmp_path, "0", "hair") == tmp_path / "0/00000_hair.png"
    assert mask_file(tmp_path, "6012", "l_eye") == tmp_path / "3/06012_l_eye.png"
    assert mask_file(tmp_path, "29999", "skin") == tmp_path / "14/29999_skin.png"


def test_constructing_reads_no_image(root, masks_root, monkeypatch):
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("an image was opened"))
    CelebA(root=str(root))
    hq(root, masks_root)


def test_attributes_are_read_without_an_image(root, monkeypatch):
    whole = CelebA(root=str(root)).batch([2, 0]).attributes
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("an image was opened"))
    assert torch.equal(CelebA(root=str(root)).read_attributes([2, 0]), whole)


def test_the_hq_frame_needs_no_aligned_images(tmp_path, masks_root):
    lists = make_celeba(tmp_path / "lists", images=False)
    shutil.rmtree(lists / "img_align_celeba")
    assert len(hq(lists, masks_root)) == 4


def test_digest_ignores_the_place_and_sees_labels_and_files(tmp_path, root, masks_root):
    shutil.copytree(root, tmp_path / "copy")
    first = CelebA(root=str(root)).digest()
    assert CelebA(root=str(tmp_path / "copy")).digest() == first
    path = tmp_path / "copy/list_attr_celeba.txt"
    path.write_text(re.sub(r"(000003.jpg) -1", r"\1  1", path.read_text()))
    relabelled = CelebA(root=str(tmp_path / "copy")).digest()
    Image.new("RGB", (178, 218)).save(root / "img_align_celeba/000003.jpg")
    masked = hq(root, masks_root).digest()
    Image.new("RGB", (64, 64)).save(masks_root / "CelebAMask-HQ-mask-anno/0/00001_hair.png")
    others = [CelebA(root=str(root)), CelebA(root=str(root), label="Male"), CelebA(root=str(root), split="test")]
    others += [hq(root, masks_root), hq(root, masks_root, masked_only=False)]
    digests = [first, relabelled, masked, *(data.digest() for data in others)]
    assert len(set(digests)) == len(digests)


def test_features_follow_the_arguments():
    assert CelebA.features({}) == {"label", "attributes"}
    assert CelebA.features({"masked_only": True}) == {"label", "attributes", "masks"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"masks_root": "x"},
            r"dataset\.masks_root needs frame: hq, got frame 'aligned': the masks of CelebAMask-HQ "
            r"do not fit",
        ),
        ({"masked_only": True}, r"dataset\.masked_only needs frame: hq"),
        ({"frame": "hq"}, r"dataset\.masks_root is missing: frame 'hq' reads its images from the CelebAMask-HQ folder"),
        ({"frame": "hq", "masks_root": "x", "crop_px": 178}, r"dataset\.crop_px must be null with frame 'hq'"),
        ({"label": "Smilling"}, r"dataset\.label must be hair_color or one of .*did you mean 'Smiling'"),
        ({"frame": "HQ"}, r"dataset\.frame must be one of 'aligned', 'hq', got 'HQ'"),
    ],
)
def test_wrong_arguments_are_found_by_the_constructor_and_the_config_check(root, given, message):
    with pytest.raises(ValueError, match=message):
        CelebA(root=str(root), **given)
    problems = node_problems({"_target_": TARGET, "root": "x", **given}, "dataset")
    assert any(re.search(message, problem) for problem in problems), problems


def test_unset_mandatory_paths_are_reported_by_the_config_check():
    node = {"_target_": TARGET, "root": "???", "frame": "hq", "masks_root": "???", "masked_only": True}
    root, masks = node_problems(node, "dataset")
    assert root == "dataset.root is missing: expected a text" and masks.startswith("dataset.masks_root is missing")
    assert node_problems({**node, "root": "x"}, "dataset") == [masks]


@pytest.mark.parametrize(
    ("remove", "expected"),
    [
        (
            "list_attr_celeba.txt",
            ("attribute list of CelebA", "list_attr_celeba.txt", "mmlab.ie.cuhk.edu.hk", "nothing is downloaded"),
        ),
        ("list_eval_partition.txt", ("partition of CelebA", "list_eval_partition.txt", "mmlab.ie.cuhk.edu.hk")),
        ("img_align_celeba", ("images of CelebA", "img_align_celeba", "expected layout")),
    ],
)
def test_a_missing_celeba_file_names_path_layout_and_source(root, remove, expected):
    path = root / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        CelebA(root=str(root))
    assert str(root) in str(error.value) and all(text in str(error.value) for text in expected)


@pytest.mark.parametrize("remove", ["CelebA-HQ-to-CelebA-mapping.txt", "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"])
def test_a_missing_hq_file_names_path_layout_and_source(root, masks_root, remove):
    path = masks_root / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError) as error:
        hq(root, masks_root)
    assert (
        str(path) in str(error.value)
        and "expected layout" in str(error.value)
        and "switchablenorms" in str(error.value)
    )


def test_no_hair_mask_at_all_is_an_error_not_an_empty_data_set(tmp_path, root):
    folder = make_celebamask_hq(tmp_path / "bare", no_hair=range(30000))
    with pytest.raises(FileNotFoundError, match="hair mask of any image of split 'val' not found: .*00000_hair.png"):
        len(hq(root, folder))


def test_a_missing_or_truncated_image_is_named(root):
    data = CelebA(root=str(root))
    truncate(root / "img_align_celeba/000003.jpg")
    with pytest.raises(ValueError, match=r"000003\.jpg cannot be decoded .*remove"):
        data.batch([0])
    (root / "img_align_celeba/000003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"img_align_celeba/000003\.jpg"):
        data.batch([0])


def test_lists_that_do_not_fit_together_are_named(root):
    with (root / "list_eval_partition.txt").open("a") as file:
        file.write("000011.jpg 1\n")
    with pytest.raises(ValueError, match="list_attr_celeba.txt has no row for 000011.jpg"):
        CelebA(root=str(root))


def test_a_split_without_usable_images_is_an_error(tmp_path):
    root = make_celeba(tmp_path, {"000001.jpg": (1, ("Bald",)), "000002.jpg": (2, ())})
    with pytest.raises(ValueError, match="no image of split 'test' has an unambiguous hair_color"):
        CelebA(root=str(root), split="test")


def test_hq_without_masks_needs_no_mask_file(root, masks_root):
    shutil.rmtree(masks_root / "CelebAMask-HQ-mask-anno")
    data = hq(root, masks_root, masked_only=False, label="Smiling")
    assert data.batch(range(len(data))).label.tolist() == [1, 1, 0, 1, 0]  # HQ 0, 1, 4 smile; 2 and 2001 do not


def test_the_digest_of_images_is_the_same_for_all_labels(root):
    """But not for those that choose images, and not for other images."""
    smiling, young, hair = (CelebA(root=str(root), label=label) for label in ("Smiling", "Young", "hair_color"))
    assert smiling.digest() != young.digest() and smiling.image_digest() == young.image_digest()
    assert hair.image_digest() != smiling.image_digest()
    assert smiling.at("test").image_digest() != smiling.image_digest()
