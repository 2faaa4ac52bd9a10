"""Artefacts: whole or absent, checked when read, made once."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time

import pytest
import torch

from pomelo_lab.engine import store as module
from pomelo_lab.engine.store import Shard, ShardKey, Store


def shard(_=None, n=4):
    return Shard({"value": torch.arange(float(n))}, {"image_id": [f"i{k}" for k in range(n)], "seconds": 1.5})


def test_a_shard_comes_back_as_it_was(tmp_path):
    store = Store(tmp_path)
    made, new = store.get_or_make(ShardKey("metric", "f", 0, 4), shard)
    again, old = store.get_or_make(ShardKey("metric", "f", 0, 4), lambda _: pytest.fail("made twice"))
    assert new and not old
    assert torch.equal(again.tensors["value"], made.tensors["value"]) and again.meta == made.meta
    assert store.meta(ShardKey("metric", "f", 0, 4))["seconds"] == 1.5


def test_a_fuller_group_serves_a_smaller_job(tmp_path):
    store = Store(tmp_path)
    store.get_or_make(ShardKey("metric", "f", 0, 4), shard)
    content = store.read(ShardKey("metric", "f", 0, 2))
    assert content.tensors["value"].tolist() == [0, 1] and content.meta["image_id"] == ["i0", "i1"]
    assert store.read(ShardKey("metric", "f", 0, 5)) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_shard_is_made_again(tmp_path, damage):
    store = Store(tmp_path)
    store.get_or_make(ShardKey("metric", "f", 0, 4), shard)
    path = store.path(ShardKey("metric", "f", 0, 4))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-3]), "empty": b""}[damage])
    content, made = store.get_or_make(ShardKey("metric", "f", 0, 4), shard)
    assert made and torch.equal(content.tensors["value"], torch.arange(4.0))


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write .*No space left on device.*run the same command again"):
        Store(tmp_path).get_or_make(ShardKey("metric", "f", 0, 4), shard)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith(".lock")] == []


def test_large_artefacts_are_not_kept_but_their_cost_is(tmp_path):
    store = Store(tmp_path)
    for _ in range(2):
        assert store.get_or_make(ShardKey("perturbation", "f", 0, 4), shard, write=False)[1]
    assert store.read(ShardKey("perturbation", "f", 0, 4)) is None
    assert store.meta(ShardKey("perturbation", "f", 0, 4))["seconds"] == 1.5


def _slow(root, log):
    def make(_):
        with open(log, "a") as file:
            file.write("made\n")
        time.sleep(0.3)
        return shard()

    Store(root).get_or_make(ShardKey("metric", "f", 0, 4), make)


def test_processes_side_by_side_make_a_shard_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_slow, args=(tmp_path, log)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert log.read_text() == "made\n"


def test_who_does_not_wait_passes_over_what_another_makes(tmp_path):
    """Nothing is made twice, the lock is free afterwards, and what lies there is given to everybody."""
    store, refuse = Store(tmp_path), lambda _: pytest.fail("made although another process is at it")

    def make(_):
        assert Store(tmp_path).get_or_make(ShardKey("part", "f", 0, 4), refuse, wait=False) == (None, False)
        return shard()

    assert store.get_or_make(ShardKey("part", "f", 0, 4), make, wait=False)[1]
    content, made = store.get_or_make(ShardKey("part", "f", 0, 4), refuse, wait=False)
    assert not made and torch.equal(content.tensors["value"], shard().tensors["value"])
    store.drop("part", "f")
    assert store.get_or_make(ShardKey("part", "f", 0, 4), shard)[1]


def _dies(root):
    Store(root).get_or_make(ShardKey("metric", "f", 0, 4), lambda _: os._exit(9))


def test_a_dead_holder_releases_its_lock(tmp_path):
    worker = multiprocessing.get_context("fork").Process(target=_dies, args=(tmp_path,))
    worker.start()
    worker.join()
    assert Store(tmp_path).get_or_make(ShardKey("metric", "f", 0, 4), shard)[1]


def test_a_shard_in_the_place_of_another_is_made_again(tmp_path):
    """Both are whole, and neither is what its place says."""
    store = Store(tmp_path)
    for fingerprint, value in (("f", 1.0), ("g", 2.0)):
        store.get_or_make(
            ShardKey("metric", fingerprint, 0, 4),
            lambda _, value=value: Shard({"value": torch.full((4,), value)}, {"image_id": list("abcd")}),
        )
    one, other = store.path(ShardKey("metric", "f", 0, 4)), store.path(ShardKey("metric", "g", 0, 4))
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert store.read(ShardKey("metric", "f", 0, 4)) is None and store.meta(ShardKey("metric", "g", 0, 4)) == {}
    assert not store.is_whole(ShardKey("metric", "g", 0, 4))


def test_a_store_may_be_moved(tmp_path):
    Store(tmp_path / "here").get_or_make(ShardKey("metric", "f", 0, 4), shard)
    (tmp_path / "here").rename(tmp_path / "there")
    assert Store(tmp_path / "there").is_whole(ShardKey("metric", "f", 0, 4))


def test_shards_of_earlier_versions_are_read(tmp_path, monkeypatch):
    """They know neither their place nor a digest of what was recorded."""
    from safetensors.torch import save_file

    path, tensors, meta = (
        Store(tmp_path).path(ShardKey("metric", "f", 0, 4)),
        dict(shard().tensors),
        {"image_id": '["a"]', "seconds": "2.5"},
    )
    path.parent.mkdir(parents=True)
    save_file(tensors, path, {**meta, "digest": module.content_digest(tensors, meta)})
    assert torch.equal(Store(tmp_path).read(ShardKey("metric", "f", 0, 4)).tensors["value"], tensors["value"])
    assert Store(tmp_path).meta(ShardKey("metric", "f", 0, 4)) == {"image_id": ["a"], "seconds": 2.5}


@pytest.mark.parametrize("damage", [None, b"", b"{}", b"[", b'{"a": 2}'])
def test_what_an_artefact_was_made_from_is_mended(tmp_path, damage):
    store = Store(tmp_path)
    store.get_or_make(ShardKey("metric", "f", 0, 4), shard)
    store.describe("metric", "f", {"a": 1})
    path = tmp_path / "metric" / "f" / "made_from.json"
    whole = path.read_bytes()
    path.unlink() if damage is None else path.write_bytes(damage)
    Store(tmp_path).describe("metric", "f", {"a": 1})
    assert path.read_bytes() == whole


def test_recorded_costs_are_checked_without_reading_the_tensors(tmp_path):
    store = Store(tmp_path)
    store.get_or_make(ShardKey("metric", "f", 0, 4), shard)
    path = store.path(ShardKey("metric", "f", 0, 4))
    path.write_bytes(path.read_bytes().replace(b'"1.5"', b'"9.5"'))
    assert store.meta(ShardKey("metric", "f", 0, 4)) == {}


def test_group_size_is_part_of_the_layout():
    assert module.GROUP == 16  # changing it orphans every stored artefact: then raise the package's major version
