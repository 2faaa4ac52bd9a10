"""What every generator does."""

from __future__ import annotations

import torch
from torch import Tensor

from pomelo_lab.conformance import network
from pomelo_lab.conformance.compare import ensure_same, untouched
from pomelo_lab.conformance.mirror import mirrors_the_constructor
from pomelo_lab.conformance.trial import Broken, NotAsked, Trial, ensure
from pomelo_lab.generator.base import EvaluationCounter, Flow, ImageModel

CLOSE = 1e-4  # of the largest value: long networks round more often


def images_of(trial: Trial) -> Tensor:
    """The job's images."""
    return trial.job.batch(0).image


def evaluated(trial: Trial) -> Tensor:
    """One evaluation of the job's images, with the evaluations counted."""

    def make() -> Tensor:
        before = EvaluationCounter.n
        made = trial.component.one_forward(images_of(trial))
        trial.memory["evaluations"] = EvaluationCounter.n - before
        return made

    return trial.once("evaluated", make)


def counts_its_evaluations(trial: Trial) -> None:
    """`one_forward` asks the network about each image once."""
    evaluated(trial)
    counted = trial.memory["evaluations"]
    ensure(counted == len(images_of(trial)), f"{len(images_of(trial))} images, counted {counted} evaluations")


def does_not_depend_on_the_batch(trial: Trial) -> None:
    """An image is evaluated alike alone and in any order."""
    for rows in ([1], [2, 0]):
        again = trial.component.one_forward(images_of(trial)[rows])
        ensure_same(evaluated(trial)[rows], again, f"images {rows}", close=CLOSE)


def leaves_its_inputs_alone(trial: Trial) -> None:
    """Images are not changed in place, nor is the global random generator used."""
    with untouched(images=images_of(trial)):
        trial.component.one_forward(images_of(trial))


def is_made_for_one_shape(trial: Trial) -> None:
    """It says for which images it was made, and refuses others by name."""
    shape = tuple(trial.component.shape)
    ensure(
        shape == tuple(images_of(trial).shape[1:]),
        f"made for {shape}, the data have {tuple(images_of(trial).shape[1:])}",
    )
    try:
        trial.component.check_images(images_of(trial)[..., :-1])
    except ValueError:
        return
    raise Broken("it accepts images of another shape")


def samples_from_given_noise(trial: Trial) -> None:
    """`sample` gives images in [0,1], the same for the same random numbers."""
    if not isinstance(trial.component, ImageModel):
        raise NotAsked("it makes no images from noise")
    first, again = (trial.component.sample(2, torch.Generator().manual_seed(0)) for _ in range(2))
    ensure(first.shape == (2, *trial.component.shape), f"samples are {tuple(first.shape)}")
    ensure(0 <= float(first.min()) and float(first.max()) <= 1, f"values from {first.min():g} to {first.max():g}")
    ensure_same(first, again, "the same random numbers")


def is_invertible(trial: Trial) -> None:
    """A flow gives back what it encodes, and a finite density per image."""
    if not isinstance(trial.component, Flow):
        raise NotAsked("it is no flow")
    images = images_of(trial)
    off = float((trial.component.decode_unclamped(trial.component.encode(images)) - images).abs().max())
    bits = getattr(trial.component, "n_bits", 8)
    ensure(off <= 1.01 * 2**-bits, f"decoded images are off by {off:.2g}, at {bits} bits")
    density = trial.component.log_density(images)
    ensure(density.shape == (len(images),) and bool(density.isfinite().all()), f"density {density.tolist()}")


RULES = (
    mirrors_the_constructor,
    counts_its_evaluations,
    does_not_depend_on_the_batch,
    leaves_its_inputs_alone,
    is_made_for_one_shape,
    samples_from_given_noise,
    is_invertible,
    *network.RULES,
)
