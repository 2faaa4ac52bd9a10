"""Files are whole, or known not to be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pomelo_lab import files
from pomelo_lab.files import Damaged, check_sealed, read_json, seal, sweep, write_bytes, write_json

VALUE = {
    "state": "done",
    "seconds": 1.25,
    "none": None,
    "inner": {"b": [1, 2.5], "a": "ü"},
    "not a number": float("nan"),
}


def every_bit(data):
    """The bytes with one bit flipped, for some bits of every byte."""
    for position in range(len(data)):
        for bit in (0, 5):
            yield data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]


def test_json_comes_back_and_no_bit_of_it_changes_unseen(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, VALUE)
    assert repr(read_json(path)) == repr(VALUE)
    for damaged in every_bit(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            content = read_json(path)
        except Damaged as error:
            assert str(path) in str(error)
        else:  # the name of the seal was hit
            assert repr({name: content.get(name) for name in VALUE}) == repr(VALUE)


@pytest.mark.parametrize("text", ["", "[]", "null", "3", "{", "[" * 100000, '{"a": 1} x'])
def test_json_of_another_shape_is_damaged(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(Damaged, match="x.json is damaged"):
        read_json(tmp_path / "x.json")


def test_json_without_a_seal_is_of_an_earlier_version(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_no_bit_of_a_sealed_file_changes_unseen(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"some bytes")
    seal(path, "of this")
    check_sealed(path, "of this")
    whole = path.read_bytes()
    for damaged in (*every_bit(whole), b"", whole[:-1], whole[: len(whole) // 2], bytes(len(whole))):
        path.write_bytes(damaged)
        with pytest.raises(Damaged, match="x is damaged"):
            check_sealed(path, "of this")
    path.write_bytes(whole)
    with pytest.raises(Damaged):
        check_sealed(path, "of that")


def test_leftovers_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path):
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    makers = (f"{files.HOST}-{died.pid}", f"{files.HOST}-{os.getpid()}", "elsewhere-1")
    left = [tmp_path / f".scores.parquet.{maker}-0a1b2c3d.tmp" for maker in makers]
    for path in left:
        path.write_bytes(b"x")
        os.utime(path, (1e9, 1e9))
    fresh = tmp_path / f".z.{makers[0]}-0a1b2c3d.tmp"  # may be of a process of another container with this host's name
    fresh.write_bytes(b"x")
    (tmp_path / "own.tmp").write_bytes(b"the user's")
    sweep.cache_clear()
    write_bytes(tmp_path / "y", b"")
    assert (
        [path.exists() for path in left] == [False, True, True] and (tmp_path / "own.tmp").exists() and fresh.exists()
    )
