"""The one place that turns config nodes into objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomelo_lab.config.signature import hints, injected_role, locate, parameters

TRUSTED = ("torch.optim.", "torchvision.", "diffusers.")


def build(node: Mapping[str, Any], **supplied: Any) -> Any:
    """Instantiate a checked `_target_` node, children first.

    Hydra's own `instantiate` is not used: its call is slow and its execution policy is still moving between versions;
    the nodes here are plain, already resolved and already checked against their signatures.

    Args:
        node: plain mapping; anything but a `_target_` node is returned as it is.
        supplied: objects of the job by role ("dataset", "generator", "sampler"); a parameter whose hint is a component
            class and that the node leaves out receives the supplied object of that class. Other names fill parameters
            that the node leaves out or null ("num_classes").
    Raises: ValueError when a target is not a component and not from a trusted library; whatever the constructor raises.
    """
    if not (isinstance(node, Mapping) and "_target_" in node):
        if isinstance(node, Mapping):
            return {name: build(item, **supplied) for name, item in node.items()}
        return [build(item, **supplied) for item in node] if isinstance(node, (list, tuple)) else node
    path = node["_target_"]
    target = locate(path)
    if not (trusted_component(target) or path.startswith(TRUSTED)):
        raise ValueError(f"_target_ {path} is neither a pomelo_lab component nor from {', '.join(TRUSTED)}")
    values = {name: build(item, **supplied) for name, item in node.items() if name != "_target_"}
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
    from pomelo_lab.config.signature import Component

    return isinstance(target, type) and (issubclass(target, Component) or target.__module__.startswith("pomelo_lab."))
