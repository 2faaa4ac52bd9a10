"""Packages and weights that a network made elsewhere needs: what is not installed, and downloads that are forbidden."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from pomelo_lab.batching import out_of_memory
from pomelo_lab.config.users_module import describe_error


class Forbidden(RuntimeError):
    """Raised in place of a download."""


def missing_package(name: str, extra: str) -> str:
    """The command that installs a package which is not installed. "" when it is."""
    return "" if find_spec(name) else f"needs {name}, which is not installed: pip install 'pomelo-lab[{extra}]'"


@contextmanager
def loading(what: str, offline: bool) -> Iterator[None]:
    """A context in which a network and its weights are made by another library or a user's code.

    Files that earlier downloads have left in a cache are used with `offline` too.

    Args:
        what: the key and its value, for the message.
        offline: forbid the downloads of Hugging Face's hub and of torch's.
    Raises: ValueError naming `what` and `offline` for a download that is forbidden, and `what` and the error for any
        other error. An error of memory that ran out is raised unchanged.
    """
    from huggingface_hub import constants
    from torch import hub

    before = constants.HF_HUB_OFFLINE, hub.urlopen
    if offline:
        constants.HF_HUB_OFFLINE, hub.urlopen = True, refuse
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise
        if offline and is_download(error):
            raise ValueError(
                f"{what}: offline=true forbids the download that it needs (offline=false allows it, a local file or "
                f"folder needs none)"
            ) from None
        raise ValueError(f"{what}: {describe_error(error)}") from error
    finally:
        constants.HF_HUB_OFFLINE, hub.urlopen = before


def refuse(*_: Any, **__: Any) -> None:
    """Stands for the opening of an address."""
    raise Forbidden


def is_download(error: BaseException | None) -> bool:
    """Whether an error comes from a download that was forbidden."""
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    while error is not None:
        if isinstance(error, (Forbidden, LocalEntryNotFoundError, OfflineModeIsEnabled)):
            return True
        error = error.__cause__ or error.__context__
    return False
