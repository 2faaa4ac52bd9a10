"""All that is wrong with a composed config, found before weights load, in one message."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from textwrap import indent
from typing import Any

from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pomelo_lab.config.preset_data import BY_ITSELF, Asked, excused, without_foreign_keys
from pomelo_lab.config.problem import Problem, lacks
from pomelo_lab.config.schema import RunSchema
from pomelo_lab.config.signature import defaults, did_you_mean, locate, node_problems, parameters
from pomelo_lab.config.suggest import printable
from pomelo_lab.config.target import check_target, output_problem


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


def checked(cfg: DictConfig, asked: Asked = BY_ITSELF) -> dict[str, Any]:
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
        text for role in (*ROLES, "metrics") for text in training_problems(config.get(role), role, config["dataset"])
    ]
    return messages or compatibility_problems(config, classes)


def training_problems(node: Any, key: str, dataset: Mapping[str, Any]) -> Iterator[str]:
    """What networks below a node cannot be trained on: arguments that the job's data set does not have, attributes
    without which it has no labels."""
    if not isinstance(node, Mapping):
        return
    target, changes = locate(dataset["_target_"]), node.get("trained_on") or {}
    own = "_target_" not in changes  # the job's data set, with other arguments
    if changes:
        from pomelo_lab.weights import training_data  # imports torch

        unknown = ", ".join(sorted(set(changes) - set(parameters(target)))) if own else ""
        for text in node_problems(training_data(node, dataset), f"{key}.trained_on", locate(ROLES["dataset"])):
            yield Problem(text, key, f"{target.__name__} has no {unknown}") if unknown else text
    if own and node.get("output") == "sigmoid" and node.get("num_classes") is None and node.get("weights") == "auto":
        if "attributes" not in target.features({**dataset, **changes}):
            text = f"needs attributes, {target.__name__} has none"
            yield Problem(f"{key}: its outputs are the attributes of the data set, {text}", key, text)
    for name, inner in node.items():
        yield from training_problems(inner, f"{key}.{name}", dataset)


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


def compatibility_problems(config: Mapping[str, Any], classes: Mapping[str, Any]) -> list[str]:
    """Choices that are right by themselves and wrong together."""
    dataset, explainer, classifier = classes["dataset"], classes["explainer"], classes["classifier"]
    names = {role: config[role]["_target_"].rpartition(".")[2] for role in classes}
    offers = dataset.features(config["dataset"])
    offers |= {"boxes"} if "masks" in offers else set()
    messages: list[str] = []

    def require(key: str, asked: frozenset[str], name: str) -> None:
        for feature in sorted(asked & {"masks", "attributes", "factors", "boxes"}):
            if feature not in offers:
                drop = f"; drop it with ~{key}" if "." in key else ""
                text = f"{key}: {name} needs {feature}, dataset {names['dataset']} has none{drop}"
                messages.append(Problem(text, key, f"needs {feature}, {names['dataset']} has none"))
        if asked & {"white_box"} and classifier.access != "white_box":
            messages.append(
                f"{key}: {name} needs features or gradients, classifier {names['classifier']} is a black box"
            )
        if "perturbations" in asked and not config.get("sampler"):
            messages.append(f"{key}: {name} needs perturbations, sampler is none: choose one with sampler=<name>")
        if "segments" in asked and not config.get("segmenter"):
            messages.append(f"{key}: {name} needs segments, segmenter is none: choose one with segmenter=<name>")

    if explainer.explains:  # without, only metrics look at perturbations
        require(
            "explainer",
            explainer.uses | ({"white_box"} if explainer.access == "white_box" else set()),
            names["explainer"],
        )
    if (
        "sampler" in classes
        and "perturbations" in explainer.uses
        and classes["sampler"].uses_segments
        and not config.get("segmenter")
    ):
        messages.append(
            f"sampler: {names['sampler']} drops segments, segmenter is none: choose one with segmenter=<name>"
        )
    gives = explainer.given_by({**defaults(explainer), **config["explainer"]})
    for name, node in (config.get("metrics") or {}).items():
        if node is None:
            continue
        metric = locate(node["_target_"])
        require(f"metrics.{name}", metric.needed(node), metric.__name__)
        messages += [
            Problem(f"metrics.{name}.{text}; drop it with ~metrics.{name}", f"metrics.{name}", text)
            for text in metric.dataset_problems({**defaults(metric), **node}, dataset)
        ]
        if {"explanation", "explanations"} & metric.needs and not explainer.explains:
            messages.append(
                f"metrics.{name}: {metric.__name__} scores explanations, explainer is none; drop it with "
                f"~metrics.{name}"
            )
        if explainer.explains and (lacking := metric.reads - (metric.reads if gives is None else gives)):
            text = (
                f"metrics.{name}: {metric.__name__} scores the {' and '.join(sorted(lacking))} of an explanation, "
                f"{names['explainer']} gives none"
            )
            messages.append(f"{text}; drop it with ~metrics.{name}")
        if "perturbations" in metric.needs and "perturbations" not in explainer.uses:
            messages.append(
                f"metrics.{name}: {metric.__name__} scores perturbations, {names['explainer']} uses none; "
                f"drop it with ~metrics.{name} or choose explainer=none or explainer=lime"
            )
    if not config.get("segmenter"):
        owners = {
            "explainer": config["explainer"],
            **{f"metrics.{name}": node for name, node in (config.get("metrics") or {}).items() if node},
        }
        inner = {f"{owner}.{option}": value for owner, node in owners.items() for option, value in node.items()}
        if "sampler" in getattr(explainer, "__dataclass_fields__", ()) and "sampler" not in config["explainer"]:
            inner["sampler"] = config.get("sampler")
        for key, node in inner.items():
            filler = locate(node["_target_"]) if isinstance(node, Mapping) and "_target_" in node else None
            if getattr(filler, "fill_uses_segments", False):
                messages.append(
                    f"{key}: {filler.__name__} fills segment by segment, segmenter is none: choose one "
                    f"with segmenter=<name>"
                )
    size, channels = config["dataset"].get("size_px"), config["dataset"].get("channels", 3)
    if size and config.get("segmenter"):
        messages += classes["segmenter"].shape_problems(config["segmenter"], (channels, size, size))
    if config["classifier"].get("column") is not None:
        messages += column_problems(config["classifier"], config["dataset"], dataset, offers)
    classes_known = dataset.classes(config["dataset"])
    if classes_known is not None:
        messages += target_problems(config, classes_known)
    return messages


def target_problems(config: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """What is wrong with the explained class, on a data set whose classes are known."""
    node, target = config["classifier"], config["target"]
    try:
        check_target(target, names)
    except ValueError as error:
        yield str(error)
    # `column_problems` has rules of its own
    n_outputs = node.get("num_classes") if node.get("column") is None else None
    if n_outputs and (text := output_problem(node, n_outputs, len(names), target, config.get("images", "all"))):
        yield text


def column_problems(
    classifier: Mapping[str, Any], node: Mapping[str, Any], dataset: Any, offers: frozenset[str]
) -> Iterator[str]:
    """Where one explained output of a multi-label network and the labels of the data set are about different things."""
    column, n_outputs, label = classifier["column"], classifier.get("n_outputs"), node.get("label")
    classes, attributes, name = dataset.classes(node), dataset.attribute_names, dataset.__name__
    if isinstance(column, str) and isinstance(attributes, tuple) and attributes and column not in attributes:
        text = (
            f"classifier.column must be a position or an attribute of {name}, got "
            f"{column!r}{did_you_mean(column, attributes)}"
        )
        yield Problem(text, "classifier", f"{name} has no attribute {column}")
        return
    missing = "" if "attributes" in offers else f"classifier.column needs attributes, {name} has none"
    if classes is not None and len(classes) != 2:
        text = (
            f"classifier.column answers two classes, absent and present, dataset {name} has {len(classes)}: choose "
            f"dataset.label=<attribute>"
        )
        yield Problem(text, "classifier", missing)
    if n_outputs is None and missing:
        yield Problem(
            f"classifier.n_outputs is missing: dataset {name} has no attributes that the outputs could be",
            "classifier",
            missing,
        )
    if n_outputs is not None and missing and classifier.get("weights") == "auto":
        text = (
            f"classifier.weights must be a file: dataset {name} has no attributes from which the {n_outputs} "
            f"outputs could be learnt, got auto"
        )
        yield Problem(text, "classifier", missing)
    if not isinstance(attributes, tuple) or not attributes:
        return  # known when files are read
    explained = None  # where the outputs are the attributes
    if isinstance(column, str):
        if n_outputs not in (None, len(attributes)):
            yield (
                f"classifier.column must be a position, got {column!r}: the {n_outputs} outputs are not the "
                f"{len(attributes)} attributes of {name}"
            )
        else:
            explained = column
    elif n_outputs is None:
        if column >= len(attributes):
            yield f"classifier.column must be below {len(attributes)}, the attributes of {name}, got {column}"
        else:
            explained = attributes[column]
    if explained and label in attributes and explained != label:
        yield (
            f"classifier.column={column} explains {explained}, dataset.label is {label}: take "
            f"classifier.column={label}; "
            "where the outputs are others than the attributes, say n_outputs"
        )
