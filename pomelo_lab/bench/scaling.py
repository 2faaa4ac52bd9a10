"""How the time of a job grows with its images, perturbations, segments and pixels, that of a grid with its jobs, and
how many images a classifier answers in a second."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from pomelo_lab.bench.row import Row, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside, Run
from pomelo_lab.classifier.base import Classifier, view
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.throughput import fixed_size


@dataclass(frozen=True)
class Axis:
    """A quantity that is varied while all others stay the same.

    Args:
        key: the config key that it varies. Of jobs, the key in which they differ.
        sizes: amounts of the quantity.
        at_most: the target for the factor by which the time grows when the quantity doubles.
        power: of a size, which gives the amount: a side of an image squared gives its pixels.
        jobs: a size is a number of jobs, whose values of the key are 1, 2, ...
    """

    key: str
    sizes: Sequence[int]
    at_most: float = 2.2
    power: int = 1
    jobs: bool = False

    def grid(self, size: int) -> list[str]:
        """The override of each job that is timed at a size."""
        return [f"{self.key}={value}" for value in (range(1, size + 1) if self.jobs else [size])]


AXES = {
    "images": Axis("n_images", (2, 4, 8, 16)),
    "perturbations": Axis("explainer.n_samples", (100, 200, 400, 800)),
    "segments": Axis("segmenter.n_segments", (10, 20, 40, 80), at_most=1.2),
    "pixels": Axis("dataset.size_px", (32, 64, 128), power=2),
    "jobs": Axis("seed", (1, 2, 4, 8), jobs=True),
    "jobs with the same perturbations": Axis("explainer.kernel_width", (1, 2, 4, 8), at_most=1.4, jobs=True),
}
JOB = (
    *("classifier.weights=null", "explainer=lime", "explainer.n_samples=200", "n_images=4"),
    *("metrics=none", "tracking=none"),
)


def compare(
    setting: Setting, axes: Mapping[str, Axis] = AXES, job: Sequence[str] = JOB, n_answers: int = 256
) -> list[Row]:
    """The factor by which the time of LIME grows when a quantity doubles, from the log-log slope over its sizes.

    A job is timed from its images to its stored explanations, in a folder of its own, so that nothing is stored before.
    Further rows are the images that each classifier answers in a second.

    Args:
        job: the overrides of the job whose quantities are varied.
        n_answers: number of images that each classifier answers.
    """
    given = (f"dataset.size_px={setting.size_px}", f"segmenter.n_segments={setting.n_segments}", *job)
    rows = [grow(setting, name, axis, given) for name, axis in axes.items()]
    return rows + [answer(setting, name, classifier, n_answers) for name, classifier in setting.classifiers.items()]


def grow(setting: Setting, name: str, axis: Axis, job: Sequence[str]) -> Row:
    """The row of one quantity."""
    grids = {size: [compose_job([*job, override]) for override in axis.grid(size)] for size in axis.sizes}
    works = {str(size): partial(explain, grid) for size, grid in grids.items()}
    works[str(axis.sizes[0])]()  # the first job of a process also loads libraries
    runs = Inside().paired(works, setting.repeats)
    amounts = [size**axis.power for size in axis.sizes]
    rounds = list(zip(*runs.values(), strict=True))
    wall, cpu = ([slope(amounts, part, clock) for part in rounds] for clock in ("wall", "cpu"))
    times = ", ".join(f"{n:,}: {typical(each, total)}" for n, each in zip(amounts, runs.values(), strict=True))
    return Row(
        f"LIME, twice the {name}",
        tuple(2**value for value in wall),
        "x",
        cpu=tuple(2**value for value in cpu),
        at_most=axis.at_most,
        note=f"slope {statistics.median(wall):.2f}; {times}",
    )


def answer(setting: Setting, name: str, classifier: Classifier, n: int) -> Row:
    """The row of a classifier: how many images it answers in a second."""
    images = torch.rand(n, 3, setting.size_px, setting.size_px, generator=torch.Generator().manual_seed(setting.seed))
    answered = partial(view(classifier, "black_box", fixed_size("cpu")).probability, images)
    answered()
    runs = Inside().paired({name: answered}, setting.repeats)[name]
    return Row(f"answers of {name} at {setting.size_px} px", tuple(n / run.total.wall for run in runs), "images/s")


def slope(amounts: Sequence[int], runs: Sequence[Run], clock: str) -> float:
    """The slope of the logarithm of the time over the logarithm of the amount: 1 = proportional, 0 = no growth."""
    seconds = [max(getattr(run.total, clock), 1e-6) for run in runs]
    return statistics.linear_regression([math.log(n) for n in amounts], [math.log(s) for s in seconds]).slope


def compose_job(overrides: Sequence[str]) -> dict[str, Any]:
    """The checked config of a job."""
    from hydra import compose, initialize_config_dir

    from pomelo_lab.config.check import validate
    from pomelo_lab.config.entry import CONF
    from pomelo_lab.config.schema import register

    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        return validate(compose("run", overrides=list(overrides)))


def explain(grid: Sequence[Mapping[str, Any]]) -> None:
    """Makes and stores the explanations of all jobs of a grid, one job after another."""
    with tempfile.TemporaryDirectory() as folder:
        for config in grid:
            job = Job(config, Store(folder))
            for group in range(job.selection.n_groups):
                job.explanation(group)
                job.forget()
