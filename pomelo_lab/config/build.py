"""The one place that turns config nodes into objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomelo_lab.config.signature import Component, hints, injected_role, locate, parameters
from pomelo_lab.config.tree import mapped

TRUSTED = ("torch.optim.", "torchvision.", "diffusers.")


def build(node: Any, **supplied: Any) -> Any:
    """Make the objects that a checked config describes, inner ones first.

    Hydra's own `instantiate` is not used: its call is slow and its execution policy is still moving between versions;
    the nodes here are plain, already resolved and already checked against their signatures.

    Args:
        node: a node with a `_target_`, or a plain value with such nodes inside.
        supplied: objects of the job by role ("dataset", "generator", "sampler"); a parameter whose hint is a component
            class and that the node leaves out receives the supplied object of that class. Other names fill parameters
            that the node leaves out or null ("num_classes").
    Raises: ValueError when a target is not a component and not from a trusted library; whatever the constructor raises.
    """
    return mapped(node, lambda part: build_one(part, supplied))


def build_one(node: Mapping[str, Any], supplied: Mapping[str, Any]) -> Any:
    """The object of a node whose arguments are objects already."""
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
    return target(**values)


def trusted_component(target: Any) -> bool:
    """Our own classes and any subclass of a component (users' components live in their own packages)."""
    return isinstance(target, type) and (issubclass(target, Component) or target.__module__.startswith("pomelo_lab."))
