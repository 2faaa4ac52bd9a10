"""Calls of a user's code: its errors name their file and line, and the data files that it reads are named once."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pomelo_lab.batching import out_of_memory
from pomelo_lab.config.users_module import LIBRARIES, describe_error

log = logging.getLogger(__name__)
_reading: ContextVar[set[str] | None] = ContextVar("files that code of the user's reads", default=None)
_watching: list[bool] = []
_told: set[str] = set()


def ask(call: Callable[..., Any], what: str, *given: Any) -> Any:
    """Calls a user's function without gradients.

    Args: what: the key and the name of the function, for the message.
    Raises: ValueError naming the function, the error, its file and line. An error of memory that ran out is raised
        unchanged, so that the batch can be halved.
    """
    import torch

    try:
        with torch.no_grad(), watch_files(what):
            return call(*given)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise ValueError(f"{what} raised {describe_error(error)}") from error


@contextmanager
def watch_files(what: str) -> Iterator[None]:
    """A context for a user's code. It restores torch's default type, and logs each data file that the code reads once.

    The address of results covers the code only. The contents of data files (weights, tables) do not enter it.
    Args: what: the key and the name of the function, for the message.
    """
    import torch

    dtype, seen = torch.get_default_dtype(), _reading.get()
    files: set[str] = set() if seen is None else seen
    if not _watching:
        sys.addaudithook(note_file)  # it cannot be taken out again
        _watching.append(True)
    token = _reading.set(files)
    try:
        yield
    finally:
        _reading.reset(token)
        torch.set_default_dtype(dtype)
        if new := sorted(files - _told):
            _told.update(new)
            log.warning(
                "%s reads %s: stored results do not notice when such a file changes; give another version then (key "
                "`version` beside the function), "
                "or force=true",
                what,
                ", ".join(new),
            )


def note_file(event: str, given: tuple[Any, ...]) -> None:
    """An audit hook that notes each data file that is opened for reading while a user's code runs."""
    files = _reading.get() if event == "open" else None
    if (
        files is None
        or not isinstance(given[0], (str, os.PathLike))
        or given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    ):
        return
    path = os.path.abspath(given[0])
    libraries = (
        f"{sys.prefix}/",
        f"{sys.base_prefix}/",
        "/usr/",
        "/etc/",
        "/proc/",
        "/sys/",
        "/dev/",
        f"{Path(__file__).resolve().parents[1]}/",
    )
    if (
        not path.endswith((".py", ".pyc", ".so"))
        and not path.startswith(libraries)
        and not any(part in path for part in LIBRARIES)
    ):
        files.add(path)
