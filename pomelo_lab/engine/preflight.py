"""Checks of a job that need the data set and the networks. They run before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pomelo_lab.classifier.base import NetworkClassifier, view
from pomelo_lab.config.signature import defaults, did_you_mean, locate
from pomelo_lab.config.target import RULES, check_target, order_problem, output_problem
from pomelo_lab.engine.components import Components

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job


def check(parts: Components) -> None:
    """Raises ValueError for a job that cannot run although its config is well formed."""
    check_network(parts)
    check_data(parts)


def check_images(job: Job) -> None:
    """Raises ValueError when the explainer cannot explain an image of the job."""
    if job.parts.explains:
        job.parts.explainer.check_images(job.selection.image_ids)


def check_network(parts: Components) -> None:
    """Raises ValueError when the classifier or the target does not fit the job.

    Four errors are found: the explained class does not exist; the classifier's outputs differ from the job's classes;
    the network cannot process images of this shape; the explainer does not support the network. A gray image is used to
    check the last one.
    """
    config, dataset, classifier = parts.config, parts.dataset, parts.classifier
    check_target(config["target"], parts.target_names)
    images, target = config.get("images", "all"), config["target"]
    if classifier.class_names is not None and target not in RULES:
        target = "predicted"  # the name of an output, not of a class of the data set
    problem = output_problem(
        config["classifier"], classifier.num_classes, dataset.num_classes, target, images
    ) or order_problem(classifier.class_names, dataset.class_names, target, images)
    if problem:
        raise ValueError(problem)
    if isinstance(classifier, NetworkClassifier):
        classifier.check_shape(dataset.shape, parts.device)
    kind = locate(config["explainer"]["_target_"])
    given = {**defaults(kind), **config["explainer"]}
    if kind.access == "white_box":  # `access` is a property of some classes: those need only logits
        white_box = view(classifier, "white_box", parts.batch_size, parts.device)
        kind.check_network(given, white_box, torch.full((1, *dataset.shape), 0.5, device=parts.device))


def check_data(parts: Components) -> None:
    """Raises ValueError when a window is larger than the images, or when the data set lacks a mask that is named."""
    metrics = {f"metrics.{name}": node for name, node in parts.config["metrics"].items() if node}
    side, names = min(parts.dataset.shape[1:]), None
    for key, node in {"explainer": parts.config["explainer"], **metrics}.items():
        given = {**defaults(locate(node["_target_"])), **node}
        if (window := given.get("window_px") or 0) > side:
            raise ValueError(f"{key}.window_px must be at most {side}, the images' side, got {window}")
        if (part := given.get("part", "label")) == "label":
            continue
        names = mask_names(parts) if names is None else names
        if part not in names:
            known = ", ".join(names) or "none"
            raise ValueError(
                f"{key}.part must be label or a mask of the data set ({known}), got {part!r}{did_you_mean(part, names)}"
            )


def mask_names(parts: Components) -> tuple[str, ...]:
    """The names of the masks and boxes of the first image."""
    first = parts.dataset.batch(parts.dataset.order()[:1].tolist())
    return tuple(dict.fromkeys((*first.masks, *first.boxes)))
