"""The needs of the components of a config, found without building them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomelo_lab.config.signature import defaults, hints, injected_role, locate, parameters, role_of
from pomelo_lab.config.tree import is_node


def asked_roles(node: Mapping[str, Any]) -> set[str]:
    """The roles of components that a constructor takes as arguments and that its node leaves out."""
    target = locate(node["_target_"])
    kinds = (injected_role(hints(target).get(name)) for name in parameters(target) if name not in node)
    return {role_of(kind) for kind in kinds if kind is not None}


def needs_of(node: Mapping[str, Any], config: Mapping[str, Any]) -> frozenset[str]:
    """The needs of a component and of the components inside it.

    Args:
        node: the node of the component.
        config: the config of the job, which supplies the components that the node leaves out.
    """
    target = locate(node["_target_"])
    parts = [*node.values(), *(config.get(role) for role in asked_roles(node))]
    inside = (needs_of(part, config) for part in parts if is_node(part))
    return target.needs_for({**defaults(target), **node}).union(*inside)
