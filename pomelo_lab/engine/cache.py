"""The artefacts of a job: in memory, else on disk, else made."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pomelo_lab.classifier.base import NotFinite, view
from pomelo_lab.engine.artefact import Artefact
from pomelo_lab.engine.store import Shard
from pomelo_lab.generator.base import EvaluationCounter

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job


class Cache:
    """What a job has of its artefacts.

    Args: job: whose classifier answers, whose images they are about, and whose store keeps them.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.memory: dict[tuple[str, str, int], Any] = {}

    def clear(self) -> None:
        """Forget what is in memory; the store keeps its own."""
        self.memory.clear()

    def once(self, kind: str, fingerprint: str, group: int, make: Callable[[], Any]) -> Any:
        """What was made for a group, which is made at its first use."""
        key = (kind, fingerprint, group)
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]

    def get(self, artefact: Artefact) -> Shard | None:
        """From memory, else from disk, else made; None while another process makes it and the artefact does not
        wait."""
        fingerprint = artefact.fingerprint
        size = (artefact.n_images or self.job.group_size(artefact.group)) if artefact.of_images else 0

        def stored() -> Shard | None:
            make = partial(self.made, artefact, size)
            shard, _ = self.job.store.get_or_make(
                artefact.kind, fingerprint, artefact.group, size, make, artefact.inputs, artefact.keep, artefact.wait
            )
            if artefact.keep:
                self.job.store.describe(artefact.kind, fingerprint, artefact.provenance)
            return shard

        return self.once(artefact.kind, f"{fingerprint}-{size}", artefact.group, stored) if artefact.hold else stored()

    def made(self, artefact: Artefact, size: int, inputs: Any) -> Shard:
        """An artefact of `size` images, with seconds, classifier queries and generator evaluations recorded."""
        self.job.tell(artefact.kind)
        box = (
            view(self.job.classifier, artefact.access, self.job.batch_size, self.job.device)
            if artefact.kind != "perturbation"
            else None
        )
        start, evaluated = time.perf_counter(), EvaluationCounter.n
        try:
            with torch.inference_mode(False):
                tensors = artefact.make(box, inputs)
        except NotFinite as error:
            raise ValueError(
                self.not_finite(error, artefact.kind, artefact.group if artefact.of_images else None)
            ) from error
        if self.job.device.type == "cuda":
            torch.cuda.synchronize(self.job.device)
        cost = {
            "seconds": time.perf_counter() - start,
            "queries": box.queries if box else 0,
            "evaluations": EvaluationCounter.n - evaluated,
        }
        ids = list(self.job.batch(artefact.group).image_id[:size]) if artefact.of_images else []
        return Shard(
            {name: tensor.detach().cpu() for name, tensor in tensors.items()},
            {"image_id": ids, **cost, **artefact.about()},
        )

    def not_finite(self, error: NotFinite, kind: str, group: int | None) -> str:
        """Which classifier answered NaN or infinity, and for which image, as far as a stage tells (group None: training
        images)."""
        node, ids = self.job.config["classifier"], self.job.batch(group).image_id if group is not None else ()
        if kind in ("clean", "prediction"):
            image = f"{'a perturbation of ' if kind == 'prediction' else ''}{ids[error.row * len(ids) // error.n]}"
        else:
            image = f"an image of the stage {kind}" + (f", made of {ids[0]} to {ids[-1]}" if ids else "")
        what = node.get("function") or node.get("architecture") or type(self.job.classifier).__name__
        weights = f", weights {node['weights']}" if node.get("weights") else ""
        return f"classifier {what}{weights} answers values that are not finite (NaN or infinite) for {image}"
