"""All that is wrong with a composed config, found before weights load, in one message."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from textwrap import indent
from typing import Any

from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pomelo_lab.config.compatibility import Choices, training_problems
from pomelo_lab.config.preset_data import BY_ITSELF, Asked, excused, without_foreign_keys
from pomelo_lab.config.problem import lacks
from pomelo_lab.config.schema import RunSchema
from pomelo_lab.config.signature import did_you_mean, locate, node_problems
from pomelo_lab.config.suggest import printable
from pomelo_lab.config.tree import nodes


class ConfigError(CompactHydraException):
    """A config that cannot run.

    Its text lists every problem: key, value, what was expected; control characters in it are escaped.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class NotForThisData(ConfigError):
    """A config that is right but for its data set, which cannot give what some of its components need.

    Args: config: resolved. lacking: role of the component -> what the data set lacks ("needs Portraits, not CelebA").
    """

    def __init__(self, text: str, config: Mapping[str, Any], lacking: Mapping[str, str]) -> None:
        super().__init__(text)
        self.config, self.lacking = config, lacking

    @property
    def reason(self) -> str:
        """The reasons in one line."""
        return "; ".join(dict.fromkeys(self.lacking.values()))


ROLES = {
    "dataset": "pomelo_lab.dataset.base.Dataset",
    "classifier": "pomelo_lab.classifier.base.Classifier",
    "segmenter": "pomelo_lab.segmenter.base.Segmenter",
    "generator": "pomelo_lab.generator.base.Generator",
    "sampler": "pomelo_lab.sampler.base.Sampler",
    "explainer": "pomelo_lab.explainer.base.Explainer",
}
ROOT_MISSING = "dataset.root is missing: expected a text"
OPTIONAL = ("sampler", "segmenter", "generator")
OWN = ("left_out", "choices", "search_path")  # keys that a job adds to its config


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as a plain mapping; a group taken out by `~group` is None.

    Raises ConfigError naming an interpolation that leads nowhere.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ConfigError(f"config: {error}") from None
    return {key: None if key in ROLES and value == "???" else value for key, value in plain.items()}


def validate(cfg: DictConfig, asked: Asked = BY_ITSELF) -> dict[str, Any]:
    """The resolved config of a run. Raises ConfigError with every problem in one message, NotForThisData where the data
    set alone is to blame.

    The arguments and metrics of a preset were not chosen for this data set: what it does not have is left out, and
    named under `left_out` (key -> reason).
    """
    config, foreign, messages = without_foreign_keys(resolved(cfg), asked)
    messages = messages or excused(problems(config), asked)
    metrics: dict[str, str] = {}
    if asked.preset or config.get("paper_table"):
        config, metrics, messages = without_metrics(config, messages, asked)
    if foreign or metrics:
        config["left_out"] = foreign | metrics
    if not messages and metrics and not any((config.get("metrics") or {}).values()):
        text = "; ".join(f"{key}: {reason}" for key, reason in metrics.items())
        raise NotForThisData(f"no metric is left: {text}", config, metrics)
    if messages:
        head = "1 problem" if len(messages) == 1 else f"{len(messages)} problems"
        text = f"the config has {head}:\n" + "\n".join(f"  - {text}" for text in messages)
        if all(map(lacks, messages)):
            raise NotForThisData(text, config, {problem.owner: problem.lacks for problem in messages})
        raise ConfigError(text)
    return config


def without_metrics(
    config: dict[str, Any], messages: list[str], asked: Asked
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The config without the metrics that its data set cannot give, those with the reasons, and what else is wrong with
    it."""
    left_out: dict[str, str] = {}
    while names := {
        p.owner.partition(".")[2].partition(".")[0]: p.lacks
        for p in messages
        if lacks(p) and p.owner.startswith("metrics.")
    }:
        left_out |= {f"metrics.{name}": reason for name, reason in names.items()}
        config = {**config, "metrics": {k: None if k in names else node for k, node in config["metrics"].items()}}
        messages = excused(problems(config), asked)
    return config, left_out, messages


def problems(config: Mapping[str, Any]) -> list[str]:
    """Every problem of a resolved run config, most basic first."""
    messages = top_level_problems(config)
    classes: dict[str, Any] = {}
    for role in ROLES:
        if config.get(role):
            classes[role] = target_class(config[role])
    layout = getattr(sys.modules.get(getattr(classes.get("dataset"), "__module__", "")), "LAYOUT", "")
    supplied = tuple(c for c in classes.values() if c is not None)
    for role, base in ROLES.items():
        node = config.get(role)
        if node:
            texts = node_problems(node, role, locate(base), supplied)
            messages += [
                f"{t}, the folder that holds\n{indent(layout, '      ')}" if layout and t == ROOT_MISSING else t
                for t in texts
            ]
        elif role not in OPTIONAL:
            messages.append(f"{role} is missing: choose one with {role}=<name>")
    metric = locate("pomelo_lab.metric.base.Metric")
    for name, node in (config.get("metrics") or {}).items():
        if node is not None:
            messages += node_problems(node, f"metrics.{name}", metric, supplied)
    messages = messages or [
        text
        for role in (*ROLES, "metrics")
        for key, node in nodes(config.get(role), role)
        for text in training_problems(node, key, config["dataset"])
    ]
    return messages or list(Choices(config, classes).problems())


def target_class(node: Any) -> Any:
    """The class of a node, or None when it cannot be imported (reported by the signature check)."""
    try:
        return locate(node["_target_"])
    except (ImportError, KeyError, TypeError):
        return None


def top_level_problems(config: Mapping[str, Any]) -> list[str]:
    """Keys that no command has (`+foo=1` gets past Hydra), and ranges of the top-level numbers."""
    known = [field.name for field in fields(RunSchema)]
    unknown = [
        f"{key} is unknown{did_you_mean(key, known)}; the top level has {', '.join(known)}"
        for key in config
        if key not in (*known, *OWN)
    ]
    rules = {"n_images": 1, "batch_size": 1, "devices": 1, "keep_gb": 0}
    messages = [
        f"{key} must be >= {low}, got {config[key]!r}"
        for key, low in rules.items()
        if config[key] is not None and config[key] < low
    ]
    if config["seed"] < 0:
        messages.append(f"seed must be >= 0, got {config['seed']}")
    if (chosen := config.get("images", "all")) not in ("all", "correct", "drawn"):
        words = "all, correct (those that the classifier gives their label) or drawn (with replacement)"
        messages.append(
            f"images must be {words}, got {chosen!r}{did_you_mean(str(chosen), ('all', 'correct', 'drawn'))}"
        )
    sheet = config.get("sheet", 0)
    if sheet != "all" and (isinstance(sheet, bool) or not isinstance(sheet, int) or sheet < 0):
        messages.append(f"sheet must be a number of images >= 0, or all, got {sheet!r}")
    messages += unknown
    device = str(config["device"])
    if device != "auto" and not device.startswith(("cpu", "cuda", "mps", "xpu")):
        messages.append(f"device must be auto, cpu, cuda, cuda:<index>, mps or xpu, got {device!r}")
    return messages
