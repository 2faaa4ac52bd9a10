"""What a preset says of its own data set, where the command line chose another one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pomelo_lab.config.problem import Problem
from pomelo_lab.config.signature import defaults, locate, node_problems, parameters
from pomelo_lab.config.tree import is_node, value_at


@dataclass(frozen=True)
class Asked:
    """What a command asked for by itself, beside what its preset says.

    Args:
        preset: whether the job belongs to a preset, whose rows and metrics were not chosen for this data set.
        typed: keys of the command line ("dataset", "dataset.label").
        swept: keys that the preset itself varies, each with its first value.
    """

    preset: bool = False
    typed: frozenset[str] = field(default_factory=frozenset)
    swept: Mapping[str, str] = field(default_factory=dict)


BY_ITSELF = Asked()


def without_foreign_keys(
    config: Mapping[str, Any], asked: Asked
) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """The config without the preset's arguments of a data set that the command line replaced by one that does not have
    them.

    What was typed stays, and is an error. Where the preset varies such an argument, its first value stands for the data
    set as it is, and the others are cells that this data set does not have.

    Returns: the config; dropped keys -> reason; problems of a cell that is not the first.
    """
    node = config.get("dataset")
    if not asked.preset or "dataset" not in asked.typed or not is_node(node):
        return dict(config), {}, []
    try:
        target = locate(node["_target_"])
    except (ImportError, TypeError):
        return dict(config), {}, []  # the check says what is wrong with it
    typed = {key.split(".")[1] for key in asked.typed if key.startswith("dataset.") and key not in asked.swept}
    foreign = [name for name in node if name != "_target_" and name not in parameters(target) and name not in typed]
    reasons = {f"dataset.{name}": f"{target.__name__} has no {name}" for name in foreign}
    config = {**config, "dataset": {name: value for name, value in node.items() if name not in foreign}}
    if (reason := label_refused(config["dataset"], target)) and "label" not in typed:
        reasons["dataset.label"] = reason
        config["dataset"]["label"] = defaults(target)["label"]
    others = [
        Problem(f"{key}={value}: {reason}", key.rpartition(".")[0], f"{reason}: {key}={value}")
        for key, first in asked.swept.items()
        for dropped, reason in reasons.items()
        if (key == dropped or key.startswith(f"{dropped}.")) and str(value := value_at({"dataset": node}, key)) != first
    ]
    return config, reasons, others


def excused(problems: Iterable[str], asked: Asked) -> list[str]:
    """Problems, where files and folders that a preset leaves to the user are what another data set lacks: they are of
    the preset's own data."""
    problems = list(problems)
    if not asked.preset or "dataset" not in asked.typed:
        return problems
    return [file_asked(text) or text for text in problems]


def file_asked(text: str) -> Problem | None:
    """A file or folder that only the user can give, as what the data set lacks; None for other problems, and for what
    the data set itself misses."""
    if not (key := re.match(r"(?!dataset)(\S+\.\S+)(?: is missing: |(?<=\.weights) must be .*, got None)", text)):
        return None
    owner = ".".join(key[1].split(".")[: 2 if key[1].startswith("metrics.") else 1])
    return Problem(text, owner, f"needs {key[1]}=<path>, which the preset leaves to the user")


def label_refused(node: Mapping[str, Any], target: Any) -> str:
    """Why a data set has no label of this name, "" where it has, or takes no names of labels."""
    if "label" not in node or "label" not in defaults(target):
        return ""
    given = {**node, "root": "."} if node.get("root") == "???" else node  # a missing folder is another problem
    refused = any(text.startswith("dataset.label ") for text in node_problems(given, "dataset"))
    return f"{target.__name__} has no label {node['label']}" if refused else ""


def keys(overrides: Iterable[Any]) -> frozenset[str]:
    """The keys of parsed overrides, without `+`."""
    return frozenset(override.key_or_group for override in overrides)
