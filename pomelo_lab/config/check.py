"""Checks of a composed config. They run before weights are loaded and report all problems in one message."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from importlib.util import find_spec
from textwrap import indent
from typing import Any, get_args

from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pomelo_lab.config.compatibility import Choices, training_problems
from pomelo_lab.config.preset_data import BY_ITSELF, Asked, excuse_missing_files, without_foreign_keys
from pomelo_lab.config.problem import lacks
from pomelo_lab.config.roles import ROLES
from pomelo_lab.config.schema import RunSchema, RuntimeName
from pomelo_lab.config.signature import did_you_mean, locate, node_problems
from pomelo_lab.config.suggest import printable
from pomelo_lab.config.tree import nodes


class ConfigError(CompactHydraException):
    """Raised for a config that cannot run.

    Its text lists each problem with the key, the value and the expectation. Control characters are escaped.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class NotForThisData(ConfigError):
    """Raised for a config whose only problem is its data set, which lacks something that a component needs.

    Args:
        config: the resolved config.
        lacking: what the data set lacks ("needs Portraits, not CelebA"), by the key of the component.
    """

    def __init__(self, text: str, config: Mapping[str, Any], lacking: Mapping[str, str]) -> None:
        super().__init__(text)
        self.config, self.lacking = config, lacking

    @property
    def reason(self) -> str:
        """All that the data set lacks, in one line."""
        return "; ".join(dict.fromkeys(self.lacking.values()))


ROOT_MISSING = "dataset.root is missing: expected a text"
OPTIONAL = ("sampler", "segmenter", "generator")
OWN = ("left_out", "choices", "search_path")  # keys that a job adds to its config


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config as a plain mapping, with interpolations resolved. A group that `~group` removed is None.

    Raises: ConfigError with the interpolation that cannot be resolved.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        raise ConfigError(f"config: {error}") from None
    return {key: None if key in ROLES and value == "???" else value for key, value in plain.items()}


def validate(cfg: DictConfig, asked: Asked = BY_ITSELF) -> dict[str, Any]:
    """Resolves and checks the config of a run.

    The arguments and metrics of a preset were not chosen for the data set of the command line. Those that it does not
    support are left out. The key `left_out` of the result has the reason for each of them.

    Raises: ConfigError with all problems in one message; NotForThisData when the data set is the only problem.
    """
    return validate_resolved(resolved(cfg), asked)


def validate_resolved(plain: Mapping[str, Any], asked: Asked = BY_ITSELF) -> dict[str, Any]:
    """Checks a resolved config as `validate` does."""
    config, foreign, messages = without_foreign_keys(plain, asked)
    messages = messages or excuse_missing_files(problems(config), asked)
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
    """Leaves out the metrics that the data set does not support.

    Returns: the config without these metrics; the reason for each of them; the remaining problems.
    """
    left_out: dict[str, str] = {}
    while names := {
        p.owner.partition(".")[2].partition(".")[0]: p.lacks
        for p in messages
        if lacks(p) and p.owner.startswith("metrics.")
    }:
        left_out |= {f"metrics.{name}": reason for name, reason in names.items()}
        config = {**config, "metrics": {k: None if k in names else node for k, node in config["metrics"].items()}}
        messages = excuse_missing_files(problems(config), asked)
    return config, left_out, messages


def problems(config: Mapping[str, Any]) -> list[str]:
    """All problems of a resolved config of a run. Later checks run only when the basic ones find no problem."""
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
    messages += metric_problems(config.get("metrics") or {}, supplied)
    messages = messages or [
        text
        for role in (*ROLES, "metrics")
        for key, node in nodes(config.get(role), role)
        for text in training_problems(node, key, config["dataset"])
    ]
    return messages or list(Choices(config, classes).problems())


def metric_problems(metrics: Any, supplied: tuple[type, ...]) -> list[str]:
    """The problems of all metrics. `metrics=[]` is refused: Hydra gives it no value, and `metrics=none` says it.

    Args: supplied: classes of the components that the job supplies for missing arguments.
    """
    if metrics == "???":
        return ["metrics must be a suite or a list of suites, got []; none is metrics=none"]
    metric = locate("pomelo_lab.metric.base.Metric")
    return [
        text
        for name, node in metrics.items()
        if node is not None
        for text in node_problems(node, f"metrics.{name}", metric, supplied)
    ]


def target_class(node: Any) -> Any:
    """The class of a node. None when it cannot be imported, which `node_problems` reports."""
    try:
        return locate(node["_target_"])
    except (ImportError, KeyError, TypeError):
        return None


def runtime_problems(name: Any) -> list[str]:
    """The problem of the key `runtime`: an unknown name, or a library that is not installed."""
    names = get_args(RuntimeName)
    if name not in names:
        return [f"runtime must be {', '.join(names)}, got {name!r}{did_you_mean(str(name), names)}"]
    if name == "onnxruntime" and not all(find_spec(package) for package in ("onnxruntime", "onnx")):
        return ["runtime=onnxruntime is not installed: pip install 'pomelo-lab[onnx]'"]
    return []


def top_level_problems(config: Mapping[str, Any]) -> list[str]:
    """The unknown and the invalid top-level keys. Unknown keys such as `+foo=1` pass Hydra."""
    known = [field.name for field in fields(RunSchema)]
    unknown = [
        f"{key} is unknown{did_you_mean(key, known)}; the top level has {', '.join(known)}"
        for key in config
        if key not in (*known, *OWN)
    ]
    rules = {"n_images": 1, "devices": 1, "keep_gb": 0}
    messages = [
        f"{key} must be >= {low}, got {config[key]!r}"
        for key, low in rules.items()
        if config[key] is not None and config[key] < low
    ]
    size = config["batch_size"]
    if size not in (None, "auto") and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        messages.append(f"batch_size must be a number of images >= 1, or auto, got {size!r}")
    messages += runtime_problems(config.get("runtime", "auto"))
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
