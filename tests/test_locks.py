"""Locks hold between processes, on file systems without flock too, and a wait is said."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import threading
import time

import pytest
from filelock import SoftFileLease, Timeout

from pomelo_lab import locks
from pomelo_lab.locks import is_held, lock_at, locked


@pytest.fixture(params=["flock", "none"])
def path(request, tmp_path, monkeypatch):
    """A lock file, on a file system with flock and on one without."""
    monkeypatch.setattr(locks, "_has_flock", {})
    if request.param == "none":
        import fcntl

        def refused(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refused)
        assert isinstance(lock_at(tmp_path / ".lock"), SoftFileLease)
    return tmp_path / "job" / ".lock"


def test_one_holds_and_the_other_waits(path):
    with locked(path) as waited:
        assert not waited and is_held(path)
        with pytest.raises(Timeout), locked(path, wait=False):
            pass
    assert not is_held(path) and not list(path.parent.glob(".flock-*"))


def test_a_wait_is_said_once(path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.05)
    freed = threading.Event()

    def hold():
        with locked(path):
            freed.wait(5)

    holder = threading.Thread(target=hold)
    holder.start()
    while not is_held(path):
        time.sleep(0.01)
    threading.Timer(0.4, freed.set).start()
    with caplog.at_level(logging.INFO), locked(path) as waited:
        assert waited
    holder.join()
    assert caplog.text.count(f"waiting for another process, which works on {path.parent}") == 1


def _dies(path):
    with locked(path):
        os._exit(9)


def test_a_dead_holder_frees_it(path):
    worker = multiprocessing.get_context("fork").Process(target=_dies, args=(path,))
    worker.start()
    worker.join()
    with locked(path):
        pass
