import numpy as np
import pytest

from pomelo_lab.dataset.celeba_files import ATTRIBUTES, PART_OF_FILE, read_attributes, read_mapping, read_partition
from tests.dataset.fixtures import CELEBA_ROWS, HQ_ROWS, make_celeba, make_celebamask_hq


def test_forty_attributes_in_alphabetical_order_and_eighteen_mask_files():
    assert len(ATTRIBUTES) == 40 and list(ATTRIBUTES) == sorted(ATTRIBUTES) and len(PART_OF_FILE) == 18


@pytest.mark.parametrize("kaggle", [False, True])
def test_lists_are_read_from_txt_and_csv(tmp_path, kaggle):
    make_celeba(tmp_path, kaggle=kaggle, images=False)
    end = "csv" if kaggle else "txt"
    rows, table = read_attributes(tmp_path / f"list_attr_celeba.{end}")
    assert table.shape == (10, 40) and table.dtype == bool
    for name, (_, present) in CELEBA_ROWS.items():
        assert {ATTRIBUTES[i] for i in np.flatnonzero(table[rows[name]])} == set(present)
    assert read_partition(tmp_path / f"list_eval_partition.{end}") == {
        name: part for name, (part, _) in CELEBA_ROWS.items()
    }


def test_a_changed_file_is_read_anew(tmp_path):
    make_celeba(tmp_path, images=False)
    path = tmp_path / "list_attr_celeba.txt"
    assert len(read_attributes(path)[0]) == 10
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert len(read_attributes(path)[0]) == 9


def test_mapping_skips_its_header(tmp_path):
    make_celebamask_hq(tmp_path)
    assert read_mapping(tmp_path / "CelebA-HQ-to-CelebA-mapping.txt") == HQ_ROWS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("000003.jpg -1", "000003.jpg yes", r"list_attr_celeba.txt line 5 \(000003.jpg\): expected 40 values"),
        ("000003.jpg -1", "000003.jpg", r"line 5 \(000003.jpg\)"),
        ("000003.jpg -1", "000003.jpg  2", r"line 5 \(000003.jpg\)"),
        ("Gray_Hair", "Grey_Hair", "header does not name Gray_Hair"),
    ],
)
def test_a_broken_attribute_list_is_named_with_its_line(tmp_path, old, new, message):
    make_celeba(tmp_path, images=False)
    path = tmp_path / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_attributes(path)


def test_other_broken_lists_are_named_with_their_line(tmp_path):
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg train\n")
    with pytest.raises(ValueError, match="list_eval_partition.txt line 2"):
        read_partition(tmp_path / "list_eval_partition.txt")
    (tmp_path / "mapping.txt").write_text("idx orig_idx orig_file\n0 119613\n")
    with pytest.raises(ValueError, match="mapping.txt line 2"):
        read_mapping(tmp_path / "mapping.txt")
    (tmp_path / "list_attr_celeba.csv").write_text("image_id,Bald\n")
    with pytest.raises(ValueError, match="line 1: expected a header of 41 columns, got 2"):
        read_attributes(tmp_path / "list_attr_celeba.csv")
