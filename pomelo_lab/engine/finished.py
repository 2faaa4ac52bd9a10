"""Finished jobs, remembered so that a later command finds their results without building their components.

The memory knows the checked config and the fingerprint of a job, and the digest of each file of its results. It answers
only for jobs whose inputs it can compare with those of the time it was told: components of this package, data sets
without files, weights that are shipped or named by a path. The module imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pomelo_lab.config.memory import contents, recall, remember
from pomelo_lab.config.preset_data import Asked
from pomelo_lab.config.roles import ROLES
from pomelo_lab.config.tree import map_nodes
from pomelo_lab.engine.score_files import SHEET, SHOWN, read_status

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

JOBS, RESULTS = "jobs", "results"  # kinds of answers
ADDED = ("choices", "search_path")  # keys that a command adds to the checked config


class Finished(NamedTuple):
    """The checked config and the score folder of a finished job."""

    config: dict[str, Any]
    folder: Path


def ask(config: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """The question that the memory answers: a resolved config, and what its check takes from the command line."""
    typed = sorted(key for key in asked.typed if key.startswith("dataset.") and key not in asked.swept)
    swept = {key: value for key, value in asked.swept.items() if key.startswith("dataset.")}
    line = ["dataset" in asked.typed, typed, swept] if asked.preset else []
    return {"config": dict(config), "preset": asked.preset, "line": line}


def find(question: Mapping[str, Any]) -> Finished | None:
    """A finished job whose results are those that were remembered. None when the job has to be looked at."""
    known = recall_job(question)
    folder = find_results(*known) if known else None
    return Finished(known[0], folder) if folder else None


def recall_job(question: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
    """The checked config and the fingerprint of a job that was remembered. None when a weights file has changed."""
    known = recall(JOBS, question)
    try:
        same = known is not None and known["weights"] == contents(list_files(known["paths"]))
    except OSError:  # a file that cannot be read
        return None
    return (known["config"], known["fingerprint"]) if same else None


def read_weights(config: Mapping[str, Any]) -> dict[str, str] | None:
    """The digests of the weights files that a checked config names. None when its inputs cannot be compared later."""
    paths = find_weights(config)
    try:
        return None if paths is None else contents(list_files(paths))
    except OSError:  # a file that cannot be read
        return None


def remember_job(
    question: Mapping[str, Any], config: Mapping[str, Any], fingerprint: str, weights: Mapping[str, str] | None
) -> None:
    """Remembers the checked config and the fingerprint of a job, unless its inputs cannot be compared later.

    Args: weights: `read_weights` from before the fingerprint was computed. A file may have been replaced since.
    """
    if weights is None or weights != read_weights(config):
        return
    checked, paths = {key: value for key, value in config.items() if key not in ADDED}, find_weights(config)
    remember(JOBS, question, {"config": checked, "fingerprint": fingerprint, "paths": paths, "weights": weights})


def find_weights(config: Mapping[str, Any]) -> list[str] | None:
    """The paths of weights that a checked config names. None when its results may depend on anything else outside the
    config and this package: a user's code, files of a data set, weights that a training has written or will write."""
    from pomelo_lab.config.signature import hints, is_weights, locate
    from pomelo_lab.training.trained import resolve
    from pomelo_lab.weights import ZOO

    paths: list[str] = []
    comparable = str(config["device"]) in ("auto", "cpu")

    def look(node: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal comparable
        target = locate(node["_target_"])
        # a user's module may name another component of this package tomorrow
        if not node["_target_"].startswith("pomelo_lab.") or not is_built_in(target):
            comparable = False
            return node
        for name, value in node.items():
            if not isinstance(value, str) or not is_weights(hints(target).get(name)) or value.startswith("zoo:"):
                continue
            if value == "auto":
                file = resolve(node, config["dataset"], config["paths"]["outputs"])
                comparable &= file is not None and file.parent == ZOO
            else:
                comparable &= Path(value).exists()
                paths.append(value)
        return node

    map_nodes({role: config.get(role) for role in (*ROLES, "metrics")}, look)
    return paths if comparable else None


def is_built_in(target: type) -> bool:
    """Whether a component's arguments and weights determine it: it is of this package, reads no data files and calls no
    user's function."""
    reads = getattr(target, "reads_files", bool)
    runs_code = hasattr(target, "source") or hasattr(target, "more_provenance")
    return target.__module__.startswith("pomelo_lab.") and not runs_code and not reads()


def list_files(paths: list[str]) -> Iterator[Path]:
    """The files of weights: those that paths name, and all below the folders that they name."""
    for path in map(Path, paths):
        yield path
        yield from path.rglob("*")


def note(question: Mapping[str, Any] | None, job: Job, folder: Path, weights: Mapping[str, str] | None) -> None:
    """Remembers a job that has just finished, or was found to be finished.

    Args: weights: `read_weights` from before the job was built.
    """
    if question is not None:
        remember_job(question, job.config, job.fingerprint, weights)
        remember_results(job, folder)


def remember_results(job: Job, folder: Path) -> None:
    """Remembers the digests of all files of a finished job's results."""
    from pomelo_lab.engine.inventory import promised

    shards = [job.store.find(key) for key in promised(job)]
    if None in shards:
        return
    described = {path.with_name("made_from.json") for path in shards}
    try:
        files = contents([*shards, *described, *list_results(folder)])
    except OSError:
        return
    remember(RESULTS, {"folder": str(folder)}, {"files": files})


def find_results(config: Mapping[str, Any], fingerprint: str) -> Path | None:
    """The score folder of a finished job. None when a file is missing, new, or not the one that was remembered."""
    folder = Path(config["paths"]["outputs"], "score", fingerprint)
    if config["force"] or config["dry_run"] or (known := recall(RESULTS, {"folder": str(folder)})) is None:
        return None
    if config.get("sheet", SHOWN) != SHOWN or not (folder / SHEET).exists():  # the picture is drawn
        return None
    try:
        whole = known["files"] == contents([*map(Path, known["files"]), *list_results(folder)])
    except OSError:
        return None
    return folder if whole and read_status(folder).get("state") == "done" else None


def list_results(folder: Path) -> list[Path]:
    """The files of a score folder, without its lock."""
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
