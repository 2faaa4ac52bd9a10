"""Which artefacts of a job the store has, and how they are removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.store import ShardKey

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

PROMISED = ("explanation", "metric", "reference")  # kinds of artefacts that a finished job leaves for others


def is_stored(job: Job) -> bool:
    """Whether all that a finished job leaves for others is there and undamaged: its explanations, scores per image and
    statistics of metrics."""
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
    # a list: every damaged shard is named in the log, not the first alone
    return all([job.store.is_whole(shard) for shard in shards])


def remove(job: Job, removed: set[tuple[str, str]], scores: bool = True) -> None:
    """Remove all that the job's numbers rest on but trained weights and parts of statistics (`force=true`).

    Nothing old is mixed with what is new, whatever a fingerprint cannot see: another library, another machine, a
    service.

    Args:
        removed: artefacts (kind, fingerprint) that this command has removed already; jobs of a grid share them.
        scores: False for jobs whose explanations alone are asked for.
    """
    parts, provenance = job.parts, job.provenance
    artefacts: list[tuple[str, Mapping[str, Any]]] = list(provenance.stages.items())
    if job.selection.chooses:
        artefacts.append(("clean", job.whole.provenance.clean))
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
