"""The time of perturbing images, relative to the classifier's time for the perturbed images."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from functools import partial

from pomelo_lab import sampler as package
from pomelo_lab.batching import RandomStreams
from pomelo_lab.bench.row import Row, inside, ratio, total, typical
from pomelo_lab.bench.setting import Setting
from pomelo_lab.bench.timer import Inside, Timed
from pomelo_lab.classifier.base import view
from pomelo_lab.sampler.base import Filler


def compare(setting: Setting, n: int = 1000, batch_size: int = 500) -> list[Row]:
    """The time of each filler that needs no arguments, divided by the forwards of each classifier."""
    timer, batch, segments = Inside(), setting.batch, setting.segments
    works = {name: partial(f.perturb, batch, segments, n, RandomStreams(setting.seed)) for name, f in fillers().items()}
    images = works["gray"]().image
    asked = {
        name: partial(view(Timed(c, timer), "black_box", batch_size).probability, images)
        for name, c in setting.classifiers.items()
    }
    for work in (*works.values(), *asked.values()):
        work()
    runs = timer.paired({**works, **asked}, setting.repeats)
    return [
        ratio(
            f"{n} perturbations, {name} / forwards, {c}",
            (runs[name], total),
            (runs[c], inside),
            "%",
            note=f"{typical(runs[name], total)} and {typical(runs[c], inside)}",
        )
        for c in asked
        for name in works
    ]


def fillers() -> dict[str, Filler]:
    """Fillers with their default arguments, by file name.

    Fillers with a required argument, such as a generator, are left out. Other comparisons measure them.
    """
    instances = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        for kind in vars(importlib.import_module(f"{package.__name__}.{module}")).values():
            is_filler = inspect.isclass(kind) and issubclass(kind, Filler) and kind.__module__.endswith(f".{module}")
            if is_filler and not inspect.isabstract(kind) and not any(is_required(f) for f in dataclasses.fields(kind)):
                instances[module] = kind()
    return instances


def is_required(field: dataclasses.Field) -> bool:
    """Whether a constructor must be given the argument of a field."""
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
