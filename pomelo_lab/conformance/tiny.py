"""The tiny job in which a component is tried: three small images, untrained networks, a store of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.config.build import build
from pomelo_lab.conformance.trial import Trial
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import untrained
from pomelo_lab.engine.store import Store

ROLES = ("dataset", "segmenter", "classifier", "generator", "sampler")
BASE = ("scale=smoke", "tracking=none", "networks=tiny", "metrics=none", "n_images=3")
# the second where a component needs known causes, parts or attributes
DATA = (("dataset=digits", "dataset.size_px=16"), ("dataset=portraits", "dataset.size_px=32"))
# what a component cannot be tried without
GRID = ("segmenter=grid", "segmenter.n_segments=16")
UNTRAINED = "classifier.weights=null"
MAPS = (*GRID, "explainer=random", "sampler=none")
WITH = {
    "dataset": (*MAPS, UNTRAINED),
    "segmenter": (UNTRAINED,),
    "classifier": MAPS,
    "generator": (*MAPS, UNTRAINED),
    "sampler": (*GRID, UNTRAINED, "explainer=none", "metrics=sampler"),
}


def tiny_job(outputs: Path, *overrides: str, folders: Sequence[str] = ()) -> Job:
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
        typed = [*search_path(folders), *BASE, f"paths.outputs={outputs}", *overrides]
        config = validate(compose("run", overrides=typed))
    return Job(untrained(config, config["dataset"], str(outputs), []), Store(outputs))


def tried(role: str, name: str, *overrides: str, folders: Sequence[str] = ()) -> Trial:
    """A component of a role, by the name of its yaml, on the first data that give what it needs.

    Args: overrides: further keys; with a `dataset=...` among them no other data is tried.
    """
    from pomelo_lab.config.check import ConfigError

    chosen = (*WITH[role], f"{role}={name}", *overrides)
    has_data = any(key.partition("=")[0] == "dataset" for key in chosen)
    folder = tempfile.TemporaryDirectory(prefix="conformance_")
    for data in ((),) if has_data else DATA:
        try:
            job = tiny_job(Path(folder.name), *data, *chosen, folders=folders)
            break
        except ConfigError:
            if has_data or data == DATA[-1]:
                raise
    memory = {"folder": folder}  # removed with the trial
    node = job.config[role]
    component = build(node) if role in ("dataset", "segmenter") else getattr(job.parts, role)
    return Trial(component, job, role, node, memory)
