"""The explained class of a job, which a user gives by its name or its position among the data set's classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pomelo_lab.config.signature import did_you_mean

SHOWN = 20  # the largest number of class names in a message
RULES = ("predicted", "label")  # values of `target` that select a class for each image


def check_target(target: Any, names: Sequence[str]) -> None:
    """Raises ValueError when `target` is no class of the data set, or is both a rule and the name of a class."""
    if target not in RULES:
        class_index(target, names)
    elif target in names:
        where = list(names).index(target)
        raise ValueError(
            f"target={target} is a rule, and the data set has a class called {target}: "
            f"say target={where} for this class, or rename it to use the rule"
        )


def order_problem(outputs: Sequence[str] | None, classes: Sequence[str], target: Any, images: str) -> str:
    """The problem of outputs that are named as the classes of the data set are, in another order. "" without one.

    Args: target, images: the top-level keys of the job. Some values take a class for the output of its position.
    """
    asks = "images=correct" if images == "correct" else "target=label" if target == "label" else ""
    if not asks or outputs is None or list(outputs) == list(classes) or set(outputs) != set(classes):
        return ""
    k = next(k for k, (output, name) in enumerate(zip(outputs, classes, strict=False)) if output != name)
    return (
        f"{asks}: class {k} of the data set is {classes[k]!r}, output {k} of the classifier is {outputs[k]!r}; bring "
        f"the classes into the order of the outputs"
    )


def class_index(rule: Any, names: Sequence[str]) -> int:
    """The index of the class that `target` gives by its name or its position.

    Names may be numbers, because folders of classes are often called 1, 2, ...
    Raises: ValueError when there is no such class, or when a number is the name of one class and the position of
        another.
    """
    text = str(rule)
    number = rule if isinstance(rule, int) and not isinstance(rule, bool) and 0 <= rule < len(names) else None
    if text in names:
        index = list(names).index(text)
        if number not in (None, index):
            other = names[number]
            raise ValueError(
                f"target={text} is the name of one class and the position of another, {other!r}: quote the name you "
                f"mean, "
                f"\"target='{text}'\" or \"target='{other}'\""
            )
        return index
    if number is not None:
        return number
    listed = ", ".join(names[:SHOWN]) + (f", ... ({len(names)} classes)" if len(names) > SHOWN else "")
    known = [*RULES, *names]
    raise ValueError(
        f"target must be predicted, label, one of {listed} or a position below {len(names)}, got "
        f"{rule!r}{did_you_mean(text, known)}"
    )


def output_problem(classifier: Mapping[str, Any], n_outputs: int, n_classes: int, target: Any, images: str) -> str:
    """The problem of a classifier whose outputs do not correspond to the classes of the data set. "" without a problem.

    Args:
        classifier: the config node of the classifier.
        n_outputs: the number of its outputs.
        n_classes: the number of the data set's classes.
        target, images: the top-level keys of the job. Some values require that outputs correspond to classes.
    """
    independent = classifier.get("output") == "sigmoid" and classifier.get("column") is None
    if not independent and n_outputs < n_classes:
        if "class_names" in classifier:  # a network with outputs of its own
            return f"classifier: its network has {n_outputs} outputs, the data set has {n_classes} classes"
        return (
            f"classifier.num_classes={n_outputs}: the data set has {n_classes} classes (one output is "
            f"classifier.column=0 classifier.n_outputs=1)"
        )
    asks = "images=correct" if images == "correct" else f"target={target}" if target != "predicted" else ""
    if asks and n_outputs != n_classes:
        return (
            f"{asks} takes the data set's {n_classes} classes for the classifier's {n_outputs} outputs: take "
            f"target=predicted, or as many outputs"
        )
    return ""
