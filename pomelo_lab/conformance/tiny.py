"""The tiny job in which a component is tried: three small images, untrained networks, a store of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.classifier.base import NetworkClassifier
from pomelo_lab.config.build import build
from pomelo_lab.config.signature import Component
from pomelo_lab.conformance.trial import Trial
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import drop_missing_weights
from pomelo_lab.engine.store import Store

BASE = ("scale=smoke", "tracking=none", "networks=tiny", "metrics=none", "n_images=3")
DIGITS = ("dataset=digits", "dataset.size_px=16")
PORTRAITS = ("dataset=portraits", "dataset.size_px=32")  # with known causes, parts and attributes
LARGE, LARGEST = (("dataset=digits", f"dataset.size_px={side}") for side in (64, 224))  # for networks that halve often
GRID = ("segmenter=grid", "segmenter.n_segments=16")
UNTRAINED = "classifier.weights=null"
MAPS = (*GRID, "explainer=random", "sampler=none")
COUNTERFACTUALS = (*GRID, "explainer=dime", "sampler=none", "dataset.label=Smiling")
# role -> jobs in which a component may be tried, the cheapest first; the first is taken that suits it
JOBS = {
    "dataset": [(*DIGITS, *MAPS, UNTRAINED)],
    "segmenter": [(*DIGITS, UNTRAINED)],
    "classifier": [(*data, *MAPS) for data in (DIGITS, PORTRAITS, LARGE, LARGEST)],
    "generator": [(*data, *MAPS, UNTRAINED) for data in (DIGITS, PORTRAITS, LARGE)],
    "sampler": [(*data, *GRID, UNTRAINED, "explainer=none", "metrics=sampler") for data in (DIGITS, PORTRAITS)],
    "explainer": [
        *((*data, *GRID, UNTRAINED, "sampler=gray") for data in (DIGITS, PORTRAITS)),
        (*PORTRAITS, *GRID, UNTRAINED, "sampler=none", "dataset.label=Smiling"),
    ],
    "metric": [
        *((*data, *GRID, UNTRAINED, "explainer=lime", "sampler=gray") for data in (DIGITS, PORTRAITS)),
        (*PORTRAITS, UNTRAINED, *COUNTERFACTUALS),
    ],
}


def tiny_job(outputs: Path, *overrides: str, folders: Sequence[str] = (), base: Sequence[str] = BASE) -> Job:
    """A job whose networks are untrained, wherever its config names them.

    Args: folders: config folders beside this package's.
    Raises: ConfigError for a config that cannot run, HydraException for one that does not compose.
    """
    from hydra import compose, initialize_config_dir

    from pomelo_lab.config.check import validate
    from pomelo_lab.config.entry import CONF, search_path
    from pomelo_lab.config.schema import register

    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        typed = [*search_path(folders), *base, f"paths.outputs={outputs}", *overrides]
        config = validate(compose("run", overrides=typed))
    return Job(drop_missing_weights(config, config["dataset"], str(outputs), []), Store(outputs))


def tried(role: str, name: str, *overrides: str, folders: Sequence[str] = ()) -> Trial:
    """A component of a role, by the name of its yaml, in the first job that suits it.

    Args: overrides: further keys, which win over those of the job.
    Raises: ConfigError or ValueError, of the last job, where none suits it.
    """
    from pomelo_lab.config.check import ConfigError

    chosen = (f"+metric@metrics.{name}={name}" if role == "metric" else f"{role}={name}", *overrides)
    given = {text.partition("=")[0] for text in chosen}
    folder = tempfile.TemporaryDirectory(prefix="conformance_")
    for overrides in JOBS[role]:
        suited = [text for text in overrides if not {text.partition("=")[0], text.partition(".")[0]} & given]
        try:
            job = tiny_job(Path(folder.name), *suited, *chosen, folders=folders)
            component = build_component(job, role, name)
            break
        except (ConfigError, ValueError):
            if overrides is JOBS[role][-1]:
                raise
    key = f"metrics.{name}" if role == "metric" else role
    node = job.config["metrics"][name] if role == "metric" else job.config[role]
    return Trial(component, job, key, node, {"folder": folder})  # the folder is removed with the trial


def build_component(job: Job, role: str, name: str) -> Component:
    """The component on trial. Raises: ValueError where it cannot take the job's images."""
    if role == "metric":
        return job.parts.metrics[name]
    if role in ("dataset", "segmenter"):
        return build(job.config[role])
    component = getattr(job.parts, role)
    if isinstance(component, NetworkClassifier):
        component.check_shape(job.parts.dataset.shape)
    return component
