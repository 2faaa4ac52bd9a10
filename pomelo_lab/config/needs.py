"""What the components of a config ask for and need, before any of them is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomelo_lab.config.signature import defaults, hints, injected_role, locate, parameters, role_of
from pomelo_lab.config.tree import is_node


def asked_roles(node: Mapping[str, Any]) -> set[str]:
    """Roles of the job's components that a constructor asks for and its node leaves out."""
    target = locate(node["_target_"])
    kinds = (injected_role(hints(target).get(name)) for name in parameters(target) if name not in node)
    return {role_of(kind) for kind in kinds if kind is not None}


def needs_of(node: Mapping[str, Any], config: Mapping[str, Any]) -> frozenset[str]:
    """What a component needs: by itself, and for the components inside it.

    Args: node: the component's; config: the job's, whose components stand where the node leaves one out.
    """
    target = locate(node["_target_"])
    parts = [*node.values(), *(config.get(role) for role in asked_roles(node))]
    inside = (needs_of(part, config) for part in parts if is_node(part))
    return target.needed({**defaults(target), **node}).union(*inside)
