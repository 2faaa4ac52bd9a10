"""Locks between processes that are free again when their holder dies, on every file system."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger(__name__)

PATIENCE_S = 5.0  # a wait that takes longer is said
WITHOUT_FLOCK = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file. Gives whether another process held it before.

    Raises: filelock.Timeout when wait is False and another process holds it.
    """
    from filelock import Timeout

    lock, waited = lock_at(path), False
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        waited = True
        try:
            lock.acquire(timeout=PATIENCE_S)
        except Timeout:
            log.info("waiting for another process, which works on %s", path.parent)
            lock.acquire()
    try:
        yield waited
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether any process holds a lock file."""
    from filelock import Timeout

    try:
        with locked(path, wait=False):
            return False
    except Timeout:
        return True


def lock_at(path: Path) -> BaseFileLock:
    """A lock of the operating system (flock); a lease where the file system has none.

    A lease is a file that its holder refreshes. It is free when its holder died on this machine, or did not refresh it
    for a minute.
    """
    from filelock import FileLock, SoftFileLease

    path.parent.mkdir(parents=True, exist_ok=True)
    device = os.stat(path.parent).st_dev
    if device not in _has_flock:
        _has_flock[device] = has_flock(path.parent)
    if _has_flock[device]:
        return FileLock(path)
    return SoftFileLease(path.with_name(f"{path.name}.lease"), lease_duration=60.0)


_has_flock: dict[int, bool] = {}  # by file system


def has_flock(folder: Path) -> bool:
    """Whether the file system of a folder has flock: tried on a file that is removed again."""
    try:
        import fcntl
    except ImportError:
        return True  # Windows: the library has locks of its own
    probe = folder / f".flock-{os.getpid()}"
    try:
        with open(probe, "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in WITHOUT_FLOCK:
            raise
        log.info("%s is on a file system without locks (flock): files that are refreshed serve as locks", folder)
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True
