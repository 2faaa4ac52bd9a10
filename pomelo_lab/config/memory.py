"""Answers that are remembered on disk, so that a later command does not compute them again.

An answer is stored under the contents of all that determines it: the question, the code of this package and its
configs, the shipped weights, the versions of libraries and the current folder, which relative paths refer to. The
memory answers nothing when any of them changed. A file of it that is damaged, missing or cannot be written changes no
result.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pomelo_lab.config.entry import CONF
from pomelo_lab.files import Damaged, cache_folder, read_json, write_json

PACKAGE = Path(__file__).resolve().parents[1]
UNUSED_DAYS = 30  # after which an answer that nobody asked for is removed
# libraries that read configs, or whose data or random numbers determine a built-in data set or an untrained network
LIBRARIES = ("hydra-core", "omegaconf", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "diffusers")


def recall(kind: str, question: Mapping[str, Any]) -> dict[str, Any] | None:
    """The remembered answer to a question. None when there is none, or when its file is damaged.

    Args: kind: the folder of the answers to questions of this kind.
    """
    try:
        asked = key(question)
        stored = read_json(path_of(kind, asked))
    except (OSError, Damaged, TypeError, ValueError):
        return None
    with contextlib.suppress(OSError):  # another user's
        os.utime(path_of(kind, asked))  # it is used: `remove_unused` keeps it
    return stored["answer"] if stored.get("key") == asked and isinstance(stored.get("answer"), dict) else None


def remember(kind: str, question: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """Stores an answer. Nothing is stored when a part is no JSON value, or when the folder cannot be written."""
    try:
        asked = key(question)
        answer = dict(answer)
        if json.loads(json.dumps(answer, allow_nan=False)) != answer:  # for example a number as a key
            return
        write_json(path_of(kind, asked), {"key": asked, "answer": answer})
        remove_unused(cache_folder(kind))
    except (OSError, TypeError, ValueError):
        return


@functools.cache
def remove_unused(folder: Path) -> None:
    """Removes the answers that no command has asked for in UNUSED_DAYS, once per folder and process.

    Each edit of this package makes all earlier answers useless.
    """
    before = time.time() - UNUSED_DAYS * 86_400
    for path in folder.glob("*.json"):
        with contextlib.suppress(OSError):  # removed by another process
            if path.stat().st_mtime < before:
                path.unlink()


def path_of(kind: str, key: str) -> Path:
    """The file of an answer."""
    return cache_folder(kind) / f"{key[:32]}.json"


def key(question: Mapping[str, Any]) -> str:
    """The digest of a question, of the current folder, and of the installation that answers it.

    Raises: TypeError or ValueError for a question of other than JSON values.
    """
    text = json.dumps([installation(), os.getcwd(), question], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def installation() -> str:
    """The digest of the package's code, configs and shipped weights, and of the versions of Python and libraries."""
    files = [path for root in (PACKAGE, Path(CONF)) for path in root.rglob("*") if "__pycache__" not in path.parts]
    versions = [sys.version, *(f"{name} {installed_version(name)}" for name in LIBRARIES)]
    return hashlib.sha256(json.dumps([versions, contents(files)]).encode()).hexdigest()


def installed_version(library: str) -> str:
    """The version of a library; "" when it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def contents(paths: Iterable[Path]) -> dict[str, str]:
    """The digest of the bytes of each file, by its path. Folders and missing files have none."""
    digests = {}
    for path in sorted({*map(Path, paths)}):
        try:
            digests[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            continue
    return digests
