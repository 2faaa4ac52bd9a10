"""Walks of a config, which is a tree of plain mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def is_node(value: Any) -> bool:
    """Whether a value describes a component: a mapping with a `_target_`."""
    return isinstance(value, Mapping) and "_target_" in value


def nodes(tree: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(dotted key, node) of every component in a config, outer ones first.

    Args: key: where the tree stands in the config.
    """
    if isinstance(tree, Mapping):
        if is_node(tree):
            yield key, tree
        for name, value in tree.items():
            yield from nodes(value, f"{key}.{name}" if key else str(name))


def mapped(tree: Any, change: Callable[[Mapping[str, Any]], Any]) -> Any:
    """A copy of a config in which `change` has replaced every component's node, inner ones first; lists included."""
    if isinstance(tree, Mapping):
        copy = {name: mapped(value, change) for name, value in tree.items()}
        return change(copy) if is_node(copy) else copy
    return [mapped(value, change) for value in tree] if isinstance(tree, (list, tuple)) else tree


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


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping in which the values of another replace those of the same keys."""
    both = {name for name, value in new.items() if isinstance(value, Mapping) and isinstance(old.get(name), Mapping)}
    return {**old, **new, **{name: merged(old[name], new[name]) for name in both}}
