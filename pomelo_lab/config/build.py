"""Builds the objects that config nodes describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomelo_lab.config.signature import Component, hints, injected_role, locate, parameters, role_of
from pomelo_lab.config.tree import map_nodes
from pomelo_lab.config.users_module import describe_error

TRUSTED = ("torch.optim.", "torchvision.", "diffusers.")


def build(node: Any, **supplied: Any) -> Any:
    """Builds the objects that a checked config describes, inner objects first.

    Hydra's `instantiate` is not used, because its calls are slow and its execution policy differs between versions.
    The nodes are plain mappings, which were resolved and checked against their signatures before.

    Args:
        node: a node with a `_target_`, or a plain value with such nodes inside.
        supplied: objects by name ("dataset", "generator", "num_classes"). An argument that the node leaves out receives
            the object of its component class. An argument that is left out or null receives the value of its name.
    Raises: ValueError when a target is neither a component nor from a trusted library; any error of the constructor.
    """
    return map_nodes(node, lambda part: build_one(part, supplied))


def build_one(node: Mapping[str, Any], supplied: Mapping[str, Any]) -> Any:
    """Builds the object of a node whose inner nodes were built before."""
    path = node["_target_"]
    target = locate(path)
    if not (trusted_component(target) or path.startswith(TRUSTED)):
        raise ValueError(f"_target_ {path} is neither a pomelo_lab component nor from {', '.join(TRUSTED)}")
    values = {name: value for name, value in node.items() if name != "_target_"}
    for name in parameters(target):
        role = injected_role(hints(target).get(name))
        if name not in values and role is not None:
            match = next((component for component in supplied.values() if isinstance(component, role)), None)
            if match is not None:
                values[name] = match
        elif values.get(name) is None and name in supplied:
            values[name] = supplied[name]
    return construct(target, path, values)


def construct(target: Any, path: str, values: Mapping[str, Any]) -> Any:
    """Calls a constructor.

    Raises: ValueError naming a user's class, the error, its file and line. A ValueError is raised unchanged, because it
        is a message already. So is an error of memory that ran out, so that the batch can be halved.
    """
    try:
        return target(**values)
    except Exception as error:
        from pomelo_lab.batching import out_of_memory

        ours = target.__module__.startswith("pomelo_lab.") or path.startswith(TRUSTED)
        if ours or isinstance(error, ValueError) or out_of_memory(error):
            raise
        raise ValueError(f"{role_of(target)} {path} raised {describe_error(error)}") from error


def trusted_component(target: Any) -> bool:
    """Whether a target is a class of this package, or a user's component, which may come from any package."""
    return isinstance(target, type) and (issubclass(target, Component) or target.__module__.startswith("pomelo_lab."))
