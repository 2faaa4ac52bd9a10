"""Descriptions of types, and suggestions of similar names, for error messages."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Iterable
from typing import Any

from pomelo_lab.config.hints import Range

# keys of configs that were removed, with what replaces them
REMOVED = {"compile": "runtime=compiled compiles the networks of a job now"}


def describe(hint: Any) -> str:
    """Describes a type hint in words: "an integer >= 1", "one of 'a', 'b'", "a Filler"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        bounds = [
            f"{sign} {bound:g}"
            for extra in args[1:]
            if isinstance(extra, Range)
            for bound, sign in ((extra.low, ">="), (extra.above, ">"), (extra.high, "<="), (extra.below, "<"))
            if bound is not None
        ]
        return " ".join([describe(args[0]), " and ".join(bounds)]).strip()
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(a) for a in args)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(a) for a in args)
    names = {
        int: "an integer",
        float: "a number",
        str: "a text",
        bool: "true or false",
        type(None): "null",
        Any: "a value",
    }
    if hint in names:
        return names[hint]
    if inspect.isclass(origin):
        return f"a {origin.__name__} of {describe(args[0])}" if args else f"a {origin.__name__}"
    return f"a {getattr(hint, '__name__', hint)}"


def did_you_mean(name: str, known: Iterable[Any]) -> str:
    """The text ", did you mean X?" when a known name is similar, or what replaces a removed key. Otherwise an empty
    text."""
    if name in REMOVED:
        return f" (it was removed: {REMOVED[name]})"
    close = difflib.get_close_matches(name, [k for k in known if not str(k).startswith("__")], n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""


def why_not(expected: type) -> str:
    """The requirement that a base class states in one clause (`Filler.requirement`), in parentheses. "" without one."""
    requirement = getattr(expected, "requirement", "")
    return f" ({requirement})" if requirement else ""
