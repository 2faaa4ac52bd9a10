"""The import of modules, and errors of a user's code in one line, with the place where they were raised."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

LIBRARIES = ("site-packages", "dist-packages", "importlib", "<frozen")
KNOWN_PACKAGES = ("pomelo_lab", "torch", "torchvision", "diffusers")


def import_named(name: str, path: str) -> ModuleType:
    """Imports the module of a `_target_`. Says so when it is a user's.

    Args: path: the `_target_`, for messages.
    Raises: ImportError naming the module that does not exist, or the error of a user's module, its file and line.
    """
    is_users = name.partition(".")[0] not in KNOWN_PACKAGES
    if name not in sys.modules and is_users:
        # the code of the module runs even when the check refuses the config
        print(f"importing {name}, which _target_ {path!r} names", file=sys.stderr)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{path!r}: no module named {error.name!r}") from None
    except Exception as error:
        if not is_users:
            raise
        raise ImportError(f"{path!r}: {name} failed when it was imported: {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """An error described in one line: kind, text, and the innermost line of the user's code in its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    users_frames = [f for f in frames if not any(part in f.filename for part in LIBRARIES) and not is_ours(f.filename)]
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    text = " ".join(str(error).split()) or "no message"
    frame = (users_frames or list(frames) or [None])[-1]
    return f"{type(error).__name__}: {text}" + (
        f" ({frame.filename}, line {frame.lineno}, in {frame.name})" if frame else ""
    )


def is_ours(filename: str) -> bool:
    """Whether a file belongs to this package."""
    return Path(__file__).resolve().parents[1] in Path(filename).parents
