"""Walks of a config, which is a tree of plain mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every component's node in a config: the mappings with a `_target_`, outer ones first."""
    if isinstance(tree, Mapping):
        if "_target_" in tree:
            yield tree
        for value in tree.values():
            yield from nodes(value)


def value_at(tree: Any, key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def override(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping with dotted keys changed. Raises KeyError when a key does not exist."""
    out = dict(config)
    for key, value in changes.items():
        head, _, rest = key.partition(".")
        if head not in out:
            raise KeyError(f"override {key!r}: {head!r} does not exist among {', '.join(out)}")
        out[head] = override(out[head], {rest: value}) if rest else value
    return out
