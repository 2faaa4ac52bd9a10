"""Code of the user's: errors inside it keep their place, and what it is given is its own."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pomelo_lab.batching import out_of_memory

LIBRARIES = ("site-packages", "dist-packages", "importlib", "<frozen")


def ask(call: Callable[..., Any], what: str, *given: Any) -> Any:
    """call(*given), in no gradient's way.

    Args: what: the key and the name of the function, for the message.
    Raises: ValueError naming the function, the error, its file and line; memory that ran out is raised as it is, for the batch to be halved.
    """
    import torch

    try:
        with torch.no_grad():
            return call(*given)
    except Exception as error:
        if out_of_memory(error):
            raise
        raise ValueError(f"{what} raised {described(error)}") from error


def described(error: BaseException) -> str:
    """An error in one line: kind, text, and the innermost line of the user's code that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(part in f.filename for part in LIBRARIES) and not is_ours(f.filename)]
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    text = " ".join(str(error).split()) or "no message"
    frame = (own or list(frames) or [None])[-1]
    return f"{type(error).__name__}: {text}" + (f" ({frame.filename}, line {frame.lineno}, in {frame.name})" if frame else "")


def is_ours(filename: str) -> bool:
    """Whether a file belongs to this package."""
    return Path(__file__).resolve().parents[1] in Path(filename).parents
