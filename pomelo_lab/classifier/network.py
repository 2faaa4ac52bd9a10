"""The base of classifiers that are trainable networks."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.config.hints import Count, Natural, OmitDefault
from pomelo_lab.config.signature import did_you_mean
from pomelo_lab.network import TrainableNetwork
from pomelo_lab.runtime.originals import Originals

ONE_OUTPUT = (
    "must be at least 2: the softmax of one output is 1 for every image; a network whose one output is the logit of a "
    "class is "
    "classifier.column=0 classifier.n_outputs=1"
)


@dataclass(kw_only=True)
class WeightedClassifier(TrainableNetwork, NetworkClassifier, ABC):
    """A classifier around a network whose weights come from a file, whatever its outputs."""

    training = "pomelo_lab.training.classifier.ClassifierTraining"

    def logit(self, images: Tensor, eager: bool = False) -> Tensor:
        return self.apply(self.normalized(images), eager=eager)

    def made_from(self, originals: Originals) -> AbstractContextManager[None]:
        return super().made_from(replace(originals, prepare=self.normalized))


@dataclass(kw_only=True)
class TrainableClassifier(WeightedClassifier):
    """A classifier around a network whose weights come from a file. Subclasses are keyword-only dataclasses.

    Args:
        num_classes: number of classes in an answer; None = the number of classes (softmax) or attributes (sigmoid) of
            the job's data set.
        output: softmax = each image has one class; sigmoid = each image has any of several attributes.
        column: the position of the only output that is explained, for a network with sigmoid outputs. The classifier
            then has two classes, absent and present, with logits (-l/2, l/2), so p(present) = sigmoid(l). If the
            outputs are the data set's attributes, a config may give the name of one (column=${dataset.label} follows
            the label). None = all outputs.
        n_outputs: number of the network's outputs, used with `column`; None = the number of attributes of the job's
            data set.
    """

    num_classes: Count | None = None
    output: Literal["softmax", "sigmoid"] = "softmax"
    column: Annotated[Natural | str | None, OmitDefault()] = None
    n_outputs: Annotated[Count | None, OmitDefault()] = None

    def __post_init__(self) -> None:
        if isinstance(self.column, str):
            raise ValueError(
                f"classifier.column={self.column} is for configs, which know the data set's attributes: "
                f"in Python pass a position"
            )
        if self.column is not None and self.n_outputs is None:
            raise ValueError(
                "classifier.n_outputs is missing: the job fills it from the data set's attributes, Python users pass it"
            )
        if self.num_classes is None and self.column is not None:
            self.num_classes = 2
        if self.num_classes is None:
            raise ValueError(
                "classifier.num_classes is missing: the job fills it from the data set, Python users pass it"
            )
        if self.num_classes == 1 and self.output == "softmax":
            raise ValueError(
                f"classifier.num_classes {ONE_OUTPUT}, got 1 (the classes of the data set where it is null)"
            )
        super().__post_init__()

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports arguments that contradict `column`, or that need it."""
        column, n_outputs = given["column"], given["n_outputs"]
        if column is None:
            if given["num_classes"] == 1 and given["output"] == "softmax":
                yield f"num_classes {ONE_OUTPUT}, got 1"
            if n_outputs is not None:
                yield (
                    f"n_outputs goes with column, got {n_outputs} without one: num_classes says how many outputs "
                    f"there are"
                )
            return
        if given["num_classes"] not in (None, 2):
            got = given["num_classes"]
            yield (
                f"num_classes must be null or 2 with column (absent, present), got {got}; n_outputs says how many "
                f"outputs there are"
            )
        if given["output"] != "softmax":
            yield f"output must be softmax with column (absent or present), got {given['output']!r}"
        if n_outputs is not None and not isinstance(column, str) and column >= n_outputs:
            yield f"column must be below n_outputs, {n_outputs}, got {column}"

    @property
    def n_logits(self) -> int:
        """Outputs of the network, before `column` selects one."""
        return self.num_classes if self.column is None else self.n_outputs

    def logit(self, images: Tensor, eager: bool = False) -> Tensor:
        logits = super().logit(images, eager)
        if self.column is None:
            return logits
        chosen = logits[:, self.column]
        return torch.stack([-chosen / 2, chosen / 2], 1)  # not (0, l): the logit of "absent" has a gradient too


def standardized(images: Tensor, mean: Tensor | float, std: Tensor | float) -> Tensor:
    """Images standardised by a mean and a deviation: (images - mean) / std."""
    return (images - mean) / std


def output_index(column: int | str, attributes: Sequence[str]) -> int:
    """The output of a multi-label network that `classifier.column` names.

    Args: column: its position, or the name of one of the data set's attributes.
    Raises: ValueError with near names where there is no such attribute.
    """
    if not isinstance(column, str):
        return column
    if column not in attributes:
        known, near = ", ".join(attributes) or "it has none", did_you_mean(column, attributes)
        raise ValueError(
            f"classifier.column must be a position or an attribute of the data set ({known}), got {column!r}{near}"
        )
    return attributes.index(column)
