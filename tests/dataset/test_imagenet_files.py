import pytest

from pomelo_lab.dataset.imagenet_files import read_annotation, read_mapping
from tests.dataset.test_imagenet import annotation


def test_an_annotation_holds_names_edges_and_size(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(annotation("a", [("n01440764", (1, 2, 30, 40)), ("n01443537", (5, 6, 7, 8))], (50, 60)))
    found = read_annotation(path)
    assert found.names == ["n01440764", "n01443537"] and found.size == (50, 60)
    assert found.edges.tolist() == [[1, 2, 30, 40], [5, 6, 7, 8]]
    path.write_text(annotation("a", [], (50, 60)))
    assert read_annotation(path).edges.shape == (0, 4)


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><annotation><object><name>&y;</name></object></annotation>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_entities_are_refused_in_any_encoding(tmp_path, encoding):
    (tmp_path / "bomb.xml").write_bytes(BOMB.encode(encoding))
    with pytest.raises(ValueError, match=r"bomb\.xml cannot be read as an annotation"):
        read_annotation(tmp_path / "bomb.xml")
    (tmp_path / "bomb.xml").write_text(BOMB)
    with pytest.raises(ValueError, match="declares XML entities"):
        read_annotation(tmp_path / "bomb.xml")


@pytest.mark.parametrize("text", ["", "no xml", "<annotation><object><name>n01440764</name></object></annotation>"])
def test_a_broken_annotation_is_named(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(ValueError, match=r"a\.xml cannot be read as an annotation \(object/name"):
        read_annotation(tmp_path / "a.xml")


def test_mapping_keeps_all_words(tmp_path):
    (tmp_path / "m.txt").write_text("n01440764 tench, Tinca tinca\nn02012849 crane\n\nn03126707 crane\n")
    assert list(read_mapping(tmp_path / "m.txt").values()) == ["tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)"]
