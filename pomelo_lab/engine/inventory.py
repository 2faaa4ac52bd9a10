"""Checks whether the store contains a job's artefacts, and removes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.store import ShardKey

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

PROMISED = ("explanation", "metric", "reference")  # the kinds of artefacts that every finished job has stored


def is_stored(job: Job) -> bool:
    """Whether the store contains a job's explanations, scores and metric statistics, all undamaged."""
    shards = promised(job)
    # a list checks every shard, so that the log names all damaged ones
    return all([job.store.is_whole(shard) for shard in shards])


def promised(job: Job) -> list[ShardKey]:
    """The shards of a finished job's explanations, scores and metric statistics.

    Their provenance is written beside them.
    """
    metrics, provenance, selection = job.parts.metrics, job.provenance, job.selection
    of_images = [("explanation", provenance.stored_explanation, None)] if job.parts.explains else []
    of_images += [("metric", provenance.metric(name), metric.n_images) for name, metric in metrics.items()]
    of_training = [provenance.reference(name) for name, metric in metrics.items() if metric.fits]
    shards: list[ShardKey] = []
    for kind, made_from, n_images in of_images:
        job.store.describe(kind, digest(made_from), made_from)
        sizes = [selection.group_size(group, n_images) for group in range(selection.n_groups)]
        shards += [ShardKey(kind, digest(made_from), group, size) for group, size in enumerate(sizes) if size]
    for made_from in of_training:
        job.store.describe("reference", digest(made_from), made_from)
        shards.append(ShardKey("reference", digest(made_from)))
    return shards


def remove(job: Job, removed: set[tuple[str, str]], scores: bool = True) -> None:
    """Removes the artefacts that a job's numbers depend on (`force=true`).

    Trained weights and parts of statistics stay. Old and new results are then never mixed, even when they differ in
    something that fingerprints do not cover: a library, the machine or an external service.

    Args:
        removed: artefacts (kind, fingerprint) that this command has already removed. Jobs of a grid share them.
        scores: False = keep the scores and metric statistics.
    """
    parts, provenance = job.parts, job.provenance
    artefacts: list[tuple[str, Mapping[str, Any]]] = list(provenance.stages.items())
    if job.selection.chooses:
        artefacts.append(("clean", job.all_images.provenance.clean))
    if parts.explains and parts.explainer.fits:
        artefacts.append(("reference", provenance.statistics))
    for name, metric in parts.metrics.items() if scores else ():
        artefacts.append(("metric", provenance.metric(name)))
        if metric.fits:
            artefacts.append(("reference", provenance.reference(name)))
        for sibling in job.siblings(metric):
            remove(sibling, removed, scores=False)
    for artefact in {(kind, digest(made_from)) for kind, made_from in artefacts} - removed:
        job.store.drop(*artefact)
        removed.add(artefact)
