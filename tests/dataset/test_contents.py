"""Digests of what files hold: never of their names, sizes or times, and remembered while nothing changes."""

import os
import time

import pytest

from pomelo_lab.dataset import contents as module
from pomelo_lab.dataset.contents import Contents


@pytest.fixture
def files(tmp_path):
    paths = [str(tmp_path / "data" / f"{k:03d}.bmp") for k in range(5)]
    (tmp_path / "data").mkdir()
    for k, path in enumerate(paths):
        with open(path, "wb") as file:
            file.write(bytes([k]) * 100)
    return paths


def settle(monkeypatch):
    """As if the files had been there for an hour."""
    now = time.time_ns()
    monkeypatch.setattr(module.time, "time_ns", lambda: now + 3_600_000_000_000)


def hashes(monkeypatch):
    """The files that are read from now on."""
    read, genuine = [], module.hash_file
    monkeypatch.setattr(module, "hash_file", lambda path: read.append(path) or genuine(path))
    return read


def test_other_contents_of_the_same_names_sizes_and_times_are_another_digest(files):
    contents = Contents(files)
    before, state = contents.digest(), os.stat(files[1])
    with open(files[1], "r+b") as file:
        file.write(b"x")
    os.utime(files[1], ns=(state.st_atime_ns, state.st_mtime_ns))
    assert contents.digest() != before


def test_the_digest_is_that_of_the_order_and_no_place(files, tmp_path):
    os.rename(tmp_path / "data", tmp_path / "moved")
    moved = [path.replace("/data/", "/moved/") for path in files]
    first = Contents(moved).digest()
    os.rename(tmp_path / "moved", tmp_path / "data")
    assert Contents(files).digest() == first != Contents(files[::-1]).digest()
    assert len({first, Contents(files[:4]).digest(), Contents([*files[:4], files[4] + "x"]).digest()}) == 3


def test_what_did_not_change_is_not_read_again_and_the_memory_may_be_deleted(files, monkeypatch):
    settle(monkeypatch)
    read = hashes(monkeypatch)
    first = Contents(files).digest()
    assert len(read) == 5 and Contents(files).digest() == first and len(read) == 5
    place = module.memory_path(files, [module.read_stamp(path) for path in files])
    for damage in (b"", place.read_bytes()[:-1], b"0" + place.read_bytes()[1:], None):
        place.unlink() if damage is None else place.write_bytes(damage)
        assert Contents(files).digest() == first
    assert len(read) == 5 + 4 * 5


def test_a_file_that_has_just_changed_is_not_remembered(files, monkeypatch):
    read = hashes(monkeypatch)
    assert Contents(files).digest() == Contents(files).digest() and len(read) == 10


def test_a_cache_that_cannot_be_written_costs_time_only(files, monkeypatch, tmp_path):
    settle(monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "file"))
    assert Contents(files).digest() == Contents(files).digest()


def test_of_very_large_sets_the_first_images_are_read_and_the_sizes_of_all_count(files, monkeypatch):
    import torch

    monkeypatch.setattr(module, "WHOLE_GB", 0.0)
    monkeypatch.setattr(module, "N_READ", 2)
    read = hashes(monkeypatch)
    first = Contents(files).digest()
    chosen = torch.randperm(5, generator=torch.Generator().manual_seed(0))[:2].tolist()  # Dataset.order
    assert sorted(read) == sorted(files[row] for row in chosen)
    with open(files[chosen[0]], "r+b") as file:
        file.write(b"x")
    second = Contents(files).digest()
    other = next(row for row in range(5) if row not in chosen)
    with open(files[other], "ab") as file:
        file.write(b"x")
    assert len({first, second, Contents(files).digest()}) == 3


def test_many_files_give_what_few_give(tmp_path):
    paths = [str(tmp_path / f"{k}") for k in range(300)]
    for k, path in enumerate(paths):
        with open(path, "w") as file:
            file.write(str(k))
    assert list(module.map_in_threads(module.hash_file, paths)) == [module.hash_file(path) for path in paths]


@pytest.mark.parametrize("why", ["a clock that was ahead", "a cache that cannot be written"])
def test_an_object_hashes_its_files_once(files, tmp_path, monkeypatch, why):
    settle(monkeypatch)
    if why == "a clock that was ahead":
        os.utime(files[0], (4e9, 4e9))
    else:
        (tmp_path / "no folder").write_text("")
        monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "no folder"))
    read, contents = hashes(monkeypatch), Contents(files)
    assert len({contents.digest() for _ in range(3)}) == 1 and len(read) == len(files)
