"""Checks of components that are valid alone but not together, such as a metric of masks on data without masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pomelo_lab.config.needs import needs_of
from pomelo_lab.config.problem import Problem
from pomelo_lab.config.signature import defaults, did_you_mean, locate, node_problems, parameters
from pomelo_lab.config.target import check_target, output_problem
from pomelo_lab.config.training_data import training_data

OF_DATA = frozenset({"masks", "attributes", "factors", "boxes"})  # features that only some data sets have


@dataclass(frozen=True)
class Choices:
    """The components of a job, each of which is valid alone.

    Args:
        config: the resolved config.
        classes: the classes of the components, by role. A role without a component is absent.
    """

    config: Mapping[str, Any]
    classes: Mapping[str, Any]

    @cached_property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """The nodes of the metrics by name, without metrics that were dropped."""
        return {name: node for name, node in (self.config.get("metrics") or {}).items() if node is not None}

    @cached_property
    def offers(self) -> frozenset[str]:
        """The features of the data set, such as masks and attributes."""
        features = self.classes["dataset"].features(self.config["dataset"])
        return features | {"boxes"} if "masks" in features else features

    def problems(self) -> Iterator[str]:
        """All problems of components that do not fit together."""
        yield from self.explainer_problems()
        for name, node in self.metrics.items():
            yield from self.metric_problems(name, node)
        yield from self.size_problems()
        dataset, classifier, node = self.classes["dataset"], self.config["classifier"], self.config["dataset"]
        if classifier.get("column") is not None:
            yield from column_problems(classifier, node, dataset, "attributes" in self.offers)
        names = dataset.classes(node)
        if names is not None:
            yield from target_problems(self.config, names)

    def unmet(self, key: str, needs: frozenset[str], name: str) -> Iterator[str]:
        """One problem for each need of a component that the job does not meet.

        Args: key: the key of the component; name: the name of its class.
        """
        dataset, classifier = self.classes["dataset"].__name__, self.classes["classifier"]
        for feature in sorted((needs & OF_DATA) - self.offers):
            drop = f"; drop it with ~{key}" if "." in key else ""
            text = f"{key}: {name} needs {feature}, dataset {dataset} has none{drop}"
            yield Problem(text, key, f"needs {feature}, {dataset} has none")
        if "white_box" in needs and classifier.access != "white_box":
            yield f"{key}: {name} needs features or gradients, classifier {classifier.__name__} is a black box"
        if "perturbations" in needs and not self.config.get("sampler"):
            yield f"{key}: {name} needs perturbations, sampler is none: choose one with sampler=<name>"
        if "segments" in needs and not self.config.get("segmenter"):
            yield f"{key}: {name} needs segments, segmenter is none: choose one with segmenter=<name>"

    def explainer_problems(self) -> Iterator[str]:
        """Unmet needs of the explainer, and a sampler that needs a segmenter."""
        explainer, sampler = self.classes["explainer"], self.classes.get("sampler")
        needs = needs_of(self.config["explainer"], self.config)
        if explainer.explains:  # with explainer=none, only metrics use perturbations
            white = {"white_box"} if explainer.access == "white_box" else set()
            yield from self.unmet("explainer", needs | white, explainer.__name__)
        drops = sampler is not None and sampler.uses_segments and "perturbations" in needs
        if drops and not self.config.get("segmenter"):
            yield f"sampler: {sampler.__name__} drops segments, segmenter is none: choose one with segmenter=<name>"

    def metric_problems(self, name: str, node: Mapping[str, Any]) -> Iterator[str]:
        """Needs of a metric that the data set, the classifier or the explainer do not meet."""
        key, metric, explainer = f"metrics.{name}", locate(node["_target_"]), self.classes["explainer"]
        drop, kind = f"drop it with ~{key}", metric.__name__
        needs = needs_of(node, self.config)
        yield from self.unmet(key, needs, kind)
        for text in metric.dataset_problems({**defaults(metric), **node}, self.classes["dataset"]):
            yield Problem(f"{key}.{text}; {drop}", key, text)
        if {"explanation", "explanations"} & needs and not explainer.explains:
            yield f"{key}: {kind} scores explanations, explainer is none; {drop}"
        gives = explainer.gives_for({**defaults(explainer), **self.config["explainer"]})
        lacking = metric.reads - gives if explainer.explains and gives is not None else ()
        if lacking:
            text = f"{key}: {kind} scores the {' and '.join(sorted(lacking))} of an explanation"
            yield f"{text}, {explainer.__name__} gives none; {drop}"
        if {"explanations", "explain_again"} & needs and not explainer.explains_again:
            yield f"{key}: {kind} asks for further explanations, {explainer.__name__} has those of its files; {drop}"
        if "perturbations" in needs and "perturbations" not in explainer.needs:
            text = f"{key}: {kind} scores perturbations, {explainer.__name__} uses none"
            yield f"{text}; {drop} or choose explainer=none or explainer=lime"

    def size_problems(self) -> Iterator[str]:
        """Problems of the segmenter with the size of the images, if the config contains the size."""
        size, channels = self.config["dataset"].get("size_px"), self.config["dataset"].get("channels", 3)
        if size and self.config.get("segmenter"):
            yield from self.classes["segmenter"].shape_problems(self.config["segmenter"], (channels, size, size))


def training_problems(node: Mapping[str, Any], key: str, dataset: Mapping[str, Any]) -> Iterator[str]:
    """Problems of a network's training data: unknown arguments of the data set, and missing attributes."""
    target, changes = locate(dataset["_target_"]), node.get("trained_on") or {}
    same_class = "_target_" not in changes  # the job's data set, possibly with other arguments
    if changes:
        unknown = ", ".join(sorted(set(changes) - set(parameters(target)))) if same_class else ""
        for text in node_problems(
            training_data(node, dataset), f"{key}.trained_on", locate("pomelo_lab.dataset.base.Dataset")
        ):
            yield Problem(text, key, f"{target.__name__} has no {unknown}") if unknown else text
    if (
        same_class
        and node.get("output") == "sigmoid"
        and node.get("num_classes") is None
        and node.get("weights") == "auto"
    ):
        if "attributes" not in target.features({**dataset, **changes}):
            text = f"needs attributes, {target.__name__} has none"
            yield Problem(f"{key}: its outputs are the attributes of the data set, {text}", key, text)


def target_problems(config: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Problems of the explained class, for a data set with known classes."""
    node, target = config["classifier"], config["target"]
    # a classifier may name its outputs itself, which are known once it is built
    names_of_target = node["class_names"] if "class_names" in node else names
    try:
        if names_of_target is not None:
            check_target(target, names_of_target)
    except ValueError as error:
        yield str(error)
    # `column_problems` checks classifiers with a column
    n_outputs = node.get("num_classes") if node.get("column") is None else None
    if n_outputs and (text := output_problem(node, n_outputs, len(names), target, config.get("images", "all"))):
        yield text


def column_problems(
    classifier: Mapping[str, Any], node: Mapping[str, Any], dataset: Any, has_attributes: bool
) -> Iterator[str]:
    """Problems of a `column`, the only explained output of a multi-label network, with the labels of the data set.

    Args: classifier: node of the classifier; node: node of the data set; dataset: class of the data set.
    """
    column, n_outputs, name = classifier["column"], classifier.get("n_outputs"), dataset.__name__
    # other data sets know their attributes only after they have read files
    attributes = dataset.attribute_names if isinstance(dataset.attribute_names, tuple) else ()
    if isinstance(column, str) and attributes and column not in attributes:
        close = did_you_mean(column, attributes)
        text = f"classifier.column must be a position or an attribute of {name}, got {column!r}{close}"
        yield Problem(text, "classifier", f"{name} has no attribute {column}")
        return
    classes = dataset.classes(node)
    missing = "" if has_attributes else f"classifier.column needs attributes, {name} has none"
    if classes is not None and len(classes) != 2:
        text = f"classifier.column answers two classes, absent and present, dataset {name} has {len(classes)}"
        yield Problem(f"{text}: choose dataset.label=<attribute>", "classifier", missing)
    if n_outputs is None and missing:
        text = f"classifier.n_outputs is missing: dataset {name} has no attributes that the outputs could be"
        yield Problem(text, "classifier", missing)
    elif missing and classifier.get("weights") == "auto":
        text = f"dataset {name} has no attributes from which the {n_outputs} outputs could be learnt, got auto"
        yield Problem(f"classifier.weights must be a file: {text}", "classifier", missing)
    if attributes:
        yield from attribute_problems(classifier, attributes, name, node.get("label"))


def attribute_problems(
    classifier: Mapping[str, Any], attributes: Sequence[str], name: str, label: str | None
) -> Iterator[str]:
    """Problems of an explained output that does not exist, or is another attribute than the label of the data set.

    Args: attributes: the attributes of the data set; name: the name of the data set; label: its `label`.
    """
    column, n_outputs, n = classifier["column"], classifier.get("n_outputs"), len(attributes)
    explained = None  # the explained attribute, if the outputs are the attributes of the data set
    if isinstance(column, str) and n_outputs not in (None, n):
        text = f"the {n_outputs} outputs are not the {n} attributes of {name}"
        yield f"classifier.column must be a position, got {column!r}: {text}"
    elif isinstance(column, str):
        explained = column
    elif n_outputs is None and column >= n:
        yield f"classifier.column must be below {n}, the attributes of {name}, got {column}"
    elif n_outputs is None:
        explained = attributes[column]
    if explained and label in attributes and explained != label:
        yield (
            f"classifier.column={column} explains {explained}, dataset.label is {label}: take "
            f"classifier.column={label}; where the outputs are others than the attributes, say n_outputs"
        )
