"""What every segmenter does."""

from __future__ import annotations

import torch
from torch import Tensor

from pomelo_lab.batching import RandomStreams
from pomelo_lab.conformance.compare import ensure_same, untouched
from pomelo_lab.conformance.mirror import mirrors_the_constructor
from pomelo_lab.conformance.trial import Trial, ensure
from pomelo_lab.types import Segments

SHAPES = ((3, 32, 40), (1, 24, 24))


def images(shape: tuple[int, int, int]) -> Tensor:
    """Three random images of a shape [C,H,W] with values of 8 bits."""
    return RandomStreams(0).uniform(("a", "b", "c"), "segmenter", *shape).mul(255).round().div(255)


def segments(trial: Trial, shape: tuple[int, int, int]) -> Segments:
    """Segments of three random images of a shape, computed once per trial."""
    return trial.once(f"segments {shape}", lambda: trial.component.segment(images(shape)))


def gives_dense_labels(trial: Trial) -> None:
    """Labels are int64 [B,H,W] without gaps, for colour and gray images."""
    for shape in SHAPES:
        made = segments(trial, shape)
        label = made.label
        ensure(label.shape == (3, *shape[1:]) and label.dtype == torch.int64, f"labels are {label.dtype} {label.shape}")
        for image_label, count in zip(label, made.count.tolist(), strict=True):
            ensure(image_label.unique().tolist() == list(range(count)), f"count is {count}, labels are others")


def does_not_depend_on_the_batch(trial: Trial) -> None:
    """An image gets the same segments alone, again, and in any order."""
    for shape in SHAPES:
        for rows in ([1], [2, 0, 1]):
            ensure_same(
                segments(trial, shape).select(rows), trial.component.segment(images(shape)[rows]), f"rows {rows}"
            )


def leaves_its_inputs_alone(trial: Trial) -> None:
    """Images are not changed in place, nor is the global random generator used."""
    given = images(SHAPES[0])
    with untouched(image=given):
        trial.component.segment(given)


def refuses_shapes_before_anything_runs(trial: Trial) -> None:
    """`shape_problems` accepts the images that it segments."""
    said = list(type(trial.component).shape_problems(vars(trial.component), SHAPES[0]))
    ensure(said == [], f"it refuses {SHAPES[0]}: {'; '.join(said)}")


RULES = (
    mirrors_the_constructor,
    gives_dense_labels,
    does_not_depend_on_the_batch,
    leaves_its_inputs_alone,
    refuses_shapes_before_anything_runs,
)
