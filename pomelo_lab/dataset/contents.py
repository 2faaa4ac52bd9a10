"""One digest of the contents of many files; a file is hashed again only when it has changed."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from pomelo_lab.files import cache_folder, write_text

log = logging.getLogger(__name__)

WHOLE_GB = 32.0  # larger sets are identified by the contents of N_READ files and the sizes of all
N_READ = 10_000  # the first files of the fixed order, which jobs use first
SETTLED_S = 2.0  # seconds; digests of younger files are not stored: they may change within a clock tick
THREADS = 8  # threads help, because reading waits for the disk and hashing releases Python's lock


class Contents:
    """The contents of a list of files, whatever their folders.

    A digest is stored in the user's cache folder (or in the folder POMELO_CACHE) under the paths, sizes and times
    (mtime and ctime) of the files. Files without a stored digest are hashed again.

    Args: paths: the files in their order; a missing file counts as absent.
    Cost: reads every file once, with a line of log every few seconds; later calls only read sizes and times. Sets over
        32 GB: only the first 10,000 files of the data set's fixed order are read, and the sizes of the others count.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        self._stamps: list[tuple[int, int, int]] | None = None  # state of the files when they were hashed last
        self._digest, self._until = "", -1.0

    def digest(self) -> str:
        """The digest, 32 hex characters.

        If reading the sizes and times of all files takes long, the last digest is reused for a while.
        """
        start = time.monotonic()
        if start < self._until:
            return self._digest
        stamps = list(map_in_threads(read_stamp, self.paths))
        took = time.monotonic() - start
        if stamps != self._stamps:
            self._digest = recall(self.paths, stamps) or self._hash_files(stamps)
            self._stamps = stamps if is_settled(stamps) else None
        self._until = time.monotonic() + 20 * took if took > 0.1 else -1.0
        return self._digest

    def digest_with(self, names: Iterable[str], more: bytes = b"") -> str:
        """A digest of image names, further bytes about the images, and the files' contents: 16 hex characters."""
        total = hashlib.sha256("\0".join(names).encode())
        total.update(more)
        total.update(self.digest().encode())
        return total.hexdigest()[:16]

    def _hash_files(self, stamps: Sequence[tuple[int, int, int]]) -> str:
        sizes = [size for size, _, _ in stamps]
        n, total = len(sizes), sum(size for size in sizes if size > 0)
        rows: Sequence[int] = range(n)
        if total > WHOLE_GB * 1e9:
            # as Dataset.order
            rows = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:N_READ].sort().values.tolist()
            log.info("%d files of %.0f GB: the contents of %d count, and the sizes of all", n, total / 1e9, len(rows))
        contents = log_progress(
            map_in_threads(hash_file, [self.paths[row] for row in rows]), [max(sizes[row], 0) for row in rows]
        )
        hasher = hashlib.blake2b(digest_size=16)
        for row, content in zip(rows, contents, strict=True):
            hasher.update(f"{row}:".encode() + content)
        hasher.update(repr(sizes).encode())
        if is_settled(stamps):
            remember(self.paths, stamps, hasher.hexdigest())
        return hasher.hexdigest()


def is_settled(stamps: Sequence[tuple[int, int, int]]) -> bool:
    """Whether every later change of a file will change its size or times.

    Times in the future count as settled, because a change also changes ctime.
    """
    now = time.time_ns()
    return all(time_ns > now or now - time_ns > SETTLED_S * 1e9 for _, *times in stamps for time_ns in times)


def read_stamp(path: str) -> tuple[int, int, int]:
    """The state of a file: (bytes, mtime_ns, ctime_ns); (-1, 0, 0) for a missing file."""
    try:
        state = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return -1, 0, 0
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def hash_file(path: str) -> bytes:
    """Digest of the bytes of a file; b"" for a missing file."""
    hasher = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                hasher.update(chunk)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    return hasher.digest()


def map_in_threads(function, paths: Sequence[str]) -> Iterator:
    """Applies a function to each path and returns the results in order. Many paths are processed in several threads."""
    if len(paths) < 64:
        yield from map(function, paths)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        for part in pool.map(
            lambda start: [function(path) for path in paths[start : start + 256]], range(0, len(paths), 256)
        ):
            yield from part


def log_progress(digests: Iterable[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
    """Passes digests on unchanged, and logs the progress after 3 s and then every 10 s."""
    start, said, total = time.monotonic(), time.monotonic() - 7, max(sum(sizes), 1)
    for content, done in zip(digests, itertools.accumulate(sizes), strict=True):
        yield content
        if (now := time.monotonic()) - said > 10:
            said = now
            left = (now - start) * (total / max(done, 1) - 1)
            log.info(
                "hashing the files of the data set, once: %.1f of %.1f GB, about %.0f s left",
                done / 1e9,
                total / 1e9,
                left,
            )


def memory_path(paths: Sequence[str], stamps: Sequence[tuple[int, int, int]]) -> Path:
    """The file that stores the digest of files in this state."""
    hasher = hashlib.blake2b(digest_size=16)
    for path, state in zip(paths, stamps, strict=True):
        hasher.update(f"{os.path.abspath(path)}\0{state}\n".encode(errors="surrogateescape"))
    return cache_folder("contents") / hasher.hexdigest()


def recall(paths: Sequence[str], stamps: Sequence[tuple[int, int, int]]) -> str:
    """The stored digest; "" when none is stored or its file is damaged."""
    try:
        digest, _, check = memory_path(paths, stamps).read_text().partition(" ")
    except (OSError, ValueError):
        return ""
    return digest if hashlib.blake2b(digest.encode(), digest_size=16).hexdigest() == check else ""


def remember(paths: Sequence[str], stamps: Sequence[tuple[int, int, int]], digest: str) -> None:
    """Stores the digest for the next process. If the cache folder cannot be written, only time is lost."""
    try:
        write_text(
            memory_path(paths, stamps), f"{digest} {hashlib.blake2b(digest.encode(), digest_size=16).hexdigest()}"
        )
    except OSError as error:
        log.debug("%s", error)
