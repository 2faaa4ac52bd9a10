"""Functions on a config, which is a tree of plain mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def is_node(value: Any) -> bool:
    """Whether a value describes a component: a mapping with a `_target_`."""
    return isinstance(value, Mapping) and "_target_" in value


def nodes(tree: Any, key: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields (dotted key, node) for each component in a config, outer components first.

    Args: key: the dotted key of the tree itself.
    """
    if isinstance(tree, Mapping):
        if is_node(tree):
            yield key, tree
        for name, value in tree.items():
            yield from nodes(value, f"{key}.{name}" if key else str(name))


def leaves(tree: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, value) for each value of a nested mapping that is no mapping itself.

    Args: key: the dotted key of the mapping itself.
    """
    for name, value in tree.items():
        below = f"{key}.{name}" if key else str(name)
        if isinstance(value, Mapping):
            yield from leaves(value, below)
        else:
            yield below, value


def map_nodes(tree: Any, change: Callable[[Mapping[str, Any]], Any]) -> Any:
    """A copy of a config in which `change` has replaced each component's node, inner nodes first. It enters lists."""
    if isinstance(tree, Mapping):
        copy = {name: map_nodes(value, change) for name, value in tree.items()}
        return change(copy) if is_node(copy) else copy
    return [map_nodes(value, change) for value in tree] if isinstance(tree, (list, tuple)) else tree


def value_at(tree: Any, key: str) -> Any:
    """The value of a dotted key. None when the key does not exist."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def override(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping with the values of some dotted keys replaced.

    Raises: KeyError when the first part of a key does not exist.
    """
    out = dict(config)
    for key, value in changes.items():
        head, _, rest = key.partition(".")
        if head not in out:
            raise KeyError(f"override {key!r}: {head!r} does not exist among {', '.join(out)}")
        out[head] = override(out[head], {rest: value}) if rest else value
    return out


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping, updated with the values of another nested mapping."""
    both = {name for name, value in new.items() if isinstance(value, Mapping) and isinstance(old.get(name), Mapping)}
    return {**old, **new, **{name: merge(old[name], new[name]) for name in both}}
