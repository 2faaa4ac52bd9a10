"""What a network is trained on, as config nodes: the network itself, and the data set that it learns from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pomelo_lab.config.signature import defaults, locate
from pomelo_lab.config.tree import merge


def training_data(component_node: Mapping[str, Any], dataset_node: Mapping[str, Any]) -> dict[str, Any]:
    """The data set that a component learns from.

    It is the job's data set with the arguments that its class sets for trainings, and with those of the component's
    `trained_on`.
    """
    target = locate(dataset_node["_target_"])
    changed = target.training_arguments({**defaults(target), **dataset_node}, learns_labels(component_node))
    return merge({**dataset_node, **changed}, component_node.get("trained_on") or {})


def learns_labels(component_node: Mapping[str, Any]) -> bool:
    """Whether training looks at labels. Softmax classifiers do; generators and attribute networks do not."""
    node = full_network_node(component_node)
    return {**defaults(locate(component_node["_target_"])), **node}.get("output") == "softmax"


def full_network_node(component_node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The network that is trained for a component.

    Where one output of a multi-label network is explained (`column`), it is the network of all outputs. Else it is the
    component itself.
    """
    if component_node.get("column") is None:
        return component_node
    rest = {name: value for name, value in component_node.items() if name not in ("column", "n_outputs")}
    return {**rest, "output": "sigmoid", "num_classes": component_node.get("n_outputs")}
