"""Arguments that a preset sets for its own data set, when the command line chooses another data set."""

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
    """The part of a config that the command line chose, as opposed to the preset.

    Args:
        preset: whether the job belongs to a preset. The rows and metrics of a preset were not chosen for a data set
            that the command line names.
        typed: keys of the command line ("dataset", "dataset.label").
        swept: keys that the preset varies, each with its first value.
    """

    preset: bool = False
    typed: frozenset[str] = field(default_factory=frozenset)
    swept: Mapping[str, str] = field(default_factory=dict)


BY_ITSELF = Asked()


def without_foreign_keys(
    config: Mapping[str, Any], asked: Asked
) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """Drops the preset's arguments of its data set that the data set of the command line does not have.

    An argument that was typed stays, so that the check refuses it. When the preset varies a dropped argument, only the
    job of its first value runs, with the data set's default. The jobs of the other values do not exist for this data
    set: each of them has a problem.

    Returns: the config; the reason for each dropped key; the problems of a job with another value than the first.
    """
    node = config.get("dataset")
    if not asked.preset or "dataset" not in asked.typed or not is_node(node):
        return dict(config), {}, []
    try:
        target = locate(node["_target_"])
    except (ImportError, TypeError):
        return dict(config), {}, []  # the check of the config reports the wrong target
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


def excuse_missing_files(problems: Iterable[str], asked: Asked) -> list[str]:
    """The problems, with missing files and folders rewritten as something that the data set lacks.

    A preset leaves some files and folders to the user, such as weights. They fit the preset's own data set. So they are
    rewritten only when the command line chooses another data set.
    """
    problems = list(problems)
    if not asked.preset or "dataset" not in asked.typed:
        return problems
    return [file_asked(text) or text for text in problems]


def file_asked(text: str) -> Problem | None:
    """The problem of a file or folder that only the user can provide, as something that the data set lacks.

    None for other problems, and for missing files of the data set itself.
    """
    if not (key := re.match(r"(?!dataset)(\S+\.\S+)(?: is missing: |(?<=\.weights) must be .*, got None)", text)):
        return None
    owner = ".".join(key[1].split(".")[: 2 if key[1].startswith("metrics.") else 1])
    return Problem(text, owner, f"needs {key[1]}=<path>, which the preset leaves to the user")


def label_refused(node: Mapping[str, Any], target: Any) -> str:
    """The reason why a data set refuses its label. "" when it accepts the label or has no such argument."""
    if "label" not in node or "label" not in defaults(target):
        return ""
    # a missing folder is reported elsewhere
    given = {**node, "root": "."} if node.get("root") == "???" else node
    refused = any(text.startswith("dataset.label ") for text in node_problems(given, "dataset"))
    return f"{target.__name__} has no label {node['label']}" if refused else ""


def keys(overrides: Iterable[Any]) -> frozenset[str]:
    """The keys of parsed overrides, without a leading `+`."""
    return frozenset(override.key_or_group for override in overrides)
