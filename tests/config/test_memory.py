"""The memory answers the question that was asked in this folder of this installation, and nothing in doubt."""

import os
import time

import pytest

from pomelo_lab.config import memory
from pomelo_lab.config.memory import cache_folder, contents, recall, remember


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "cache"))


def test_it_answers_the_same_question_only():
    remember("test", {"a": 1}, {"answer": [1, None, "x"]})
    assert recall("test", {"a": 1}) == {"answer": [1, None, "x"]}
    assert recall("test", {"a": 2}) is None and recall("other", {"a": 1}) is None


def test_another_folder_is_another_question(monkeypatch, tmp_path):
    remember("test", {"path": "w"}, {"yes": 1})
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert recall("test", {"path": "w"}) is None


def test_other_code_is_another_question(monkeypatch):
    remember("test", {}, {"yes": 1})
    monkeypatch.setattr(memory, "installation", lambda: "edited")
    assert recall("test", {}) is None


def test_the_installation_holds_the_code_and_the_configs(monkeypatch, tmp_path):
    seen = []
    for text in ("a = 1", "a = 2"):
        (tmp_path / "code.py").write_text(text)
        monkeypatch.setattr(memory, "PACKAGE", tmp_path)
        seen.append(memory.installation.__wrapped__())
    assert seen[0] != seen[1]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"key": "x", "answer": {}}', b"[]"])
def test_a_damaged_file_answers_nothing_and_is_replaced(content):
    remember("test", {}, {"yes": 1})
    (file,) = (cache_folder("test")).iterdir()
    file.write_bytes(content)
    assert recall("test", {}) is None
    remember("test", {}, {"yes": 1})
    assert recall("test", {}) == {"yes": 1}


def test_an_edited_answer_is_not_given():
    remember("test", {}, {"yes": 1})
    (file,) = (cache_folder("test")).iterdir()
    file.write_text(file.read_text().replace('"yes": 1', '"yes": 2'))
    assert recall("test", {}) is None


def test_the_answer_to_another_question_is_not_given():
    remember("test", {"a": 1}, {"yes": 1})
    (file,) = (cache_folder("test")).iterdir()
    remember("test", {"a": 2}, {"yes": 2})
    (other,) = {*(cache_folder("test")).iterdir()} - {file}
    other.write_bytes(file.read_bytes())
    assert recall("test", {"a": 2}) is None


def test_a_folder_that_cannot_be_written_is_ignored(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "file"))
    remember("test", {}, {"yes": 1})
    assert recall("test", {}) is None


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
def test_what_is_no_json_is_not_remembered(value):
    remember("test", {"a": value}, {"yes": 1})
    remember("test", {}, {"no": value})
    assert recall("test", {"a": value}) is None and recall("test", {}) is None


def test_contents_follow_the_bytes_of_files(tmp_path):
    file = tmp_path / "a"
    file.write_text("1")
    before = contents([file, tmp_path, tmp_path / "missing"])
    assert list(before) == [str(file)]
    file.write_text("2")
    assert contents([file]) != before


def test_answers_that_nobody_asks_for_are_removed():
    for k in range(3):
        remember("test", {"a": k}, {"yes": k})
    month_ago = time.time() - 31 * 86_400
    for path in cache_folder("test").iterdir():
        os.utime(path, (month_ago, month_ago))
    assert recall("test", {"a": 1}) == {"yes": 1}
    memory.remove_unused.cache_clear()  # as in a new process
    remember("test", {"a": 3}, {"yes": 3})
    assert [recall("test", {"a": k}) for k in range(4)] == [None, {"yes": 1}, None, {"yes": 3}]
