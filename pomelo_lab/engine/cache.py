"""The artefacts of a job, taken from memory or from disk, or else computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.classifier.answers import NotProbabilities
from pomelo_lab.classifier.base import view
from pomelo_lab.engine.artefact import Artefact
from pomelo_lab.engine.components import Components
from pomelo_lab.engine.inventory import PROMISED
from pomelo_lab.engine.not_stored import NotStored
from pomelo_lab.engine.promise import named
from pomelo_lab.engine.selection import Selection
from pomelo_lab.engine.store import GROUP, Shard, Store
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.runtime.chosen import watch_runtimes
from pomelo_lab.throughput import watch
from pomelo_lab.types import Batch, ensure_images


class Cache:
    """The artefacts of a job. Each is computed at most once, and read afterwards.

    Args:
        store: the store of artefacts on disk.
        parts: the job's components, including the classifier.
        selection: the job's images.
        tell: a function that is called with the kind of each artefact before it is computed.
    """

    def __init__(
        self, store: Store, parts: Components, selection: Selection, tell: Callable[[str], None] = lambda kind: None
    ) -> None:
        self.store = store
        self.parts = parts
        self.selection = selection
        self.tell = tell
        self.memory: dict[tuple[str, str, int], Any] = {}

    def batch(self, group: int) -> Batch:
        """The images of a group."""
        return self.once("batch", "", group, lambda: self._read_batch(group).to(self.parts.device))

    def _read_batch(self, group: int) -> Batch:
        batch = self.selection.batch(group)
        with named(self.parts.dataset):
            ensure_images(batch.image)
        return batch

    def label(self, group: int) -> Tensor:
        """The labels of a group. They come from the group's images if those are in memory, else from the data set."""
        batch = self.memory.get(("batch", "", group))
        return self.selection.label(group).to(self.parts.device) if batch is None else batch.label

    def clear(self) -> None:
        """Frees the artefacts in memory. Those on disk stay."""
        self.memory.clear()

    def once(self, kind: str, fingerprint: str, group: int, make: Callable[[], Any]) -> Any:
        """The result of `make`, which is called at the first use. The result is remembered until `clear`."""
        key = (kind, fingerprint, group)
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]

    def get(self, artefact: Artefact) -> Shard | None:
        """The artefact from memory or from disk, or else computed.

        None when the artefact does not wait and another process computes it.
        """
        n_images = (artefact.n_images or self.selection.group_size(artefact.group)) if artefact.of_images else 0
        if not artefact.hold:
            return self.obtain(artefact, n_images)
        name = f"{artefact.fingerprint}-{n_images}"
        return self.once(artefact.kind, name, artefact.group, lambda: self.obtain(artefact, n_images))

    def obtain(self, artefact: Artefact, n_images: int) -> Shard | None:
        """The artefact from disk, or else computed. Its provenance is written to the same folder."""
        make = partial(self.make, artefact, n_images)
        shard, _ = self.store.get_or_make(artefact.key(n_images), make, artefact.inputs, artefact.write, artefact.wait)
        if artefact.write:
            self.store.describe(artefact.kind, artefact.fingerprint, artefact.provenance)
        return shard

    def make(self, artefact: Artefact, n_images: int, inputs: Any) -> Shard:
        """Computes an artefact of `n_images` images, and records seconds, queries and evaluations.

        Args: inputs: the result of the artefact's `inputs`.
        """
        self.tell(artefact.kind)
        parts = self.parts
        classifier = (
            view(parts.classifier, artefact.access, parts.batch_size, parts.device)
            if artefact.kind != "perturbation"
            else None
        )
        start, evaluated = time.perf_counter(), EvaluationCounter.n
        try:
            with torch.inference_mode(False), watch() as batch_size, watch_runtimes() as runtimes:
                tensors = artefact.make(classifier, inputs)
        except NotProbabilities as error:
            group = artefact.group if artefact.of_images else None
            raise ValueError(self.describe_answer(error, artefact.kind, group)) from error
        if parts.device.type == "cuda":
            torch.cuda.synchronize(parts.device)
        cost = {
            "seconds": time.perf_counter() - start,
            "queries": classifier.queries if classifier else 0,
            "evaluations": EvaluationCounter.n - evaluated,
            "batch_size": batch_size,
            "runtimes": runtimes,
        }
        ids = list(self.batch(artefact.group).image_id[:n_images]) if artefact.of_images else []
        return Shard(
            {name: tensor.detach().cpu() for name, tensor in tensors.items()},
            {"image_id": ids, **cost, **artefact.about()},
        )

    def describe_answer(self, error: NotProbabilities, kind: str, group: int | None) -> str:
        """The message for a classifier's wrong answer. It names the classifier, the answer and, if known, the image.

        Args: group: None for training images.
        """
        node, ids = self.parts.config["classifier"], self.batch(group).image_id if group is not None else ()
        if kind in ("clean", "prediction"):
            image = f"{'a perturbation of ' if kind == 'prediction' else ''}{ids[error.row * len(ids) // error.n]}"
        else:
            image = f"an image of the stage {kind}" + (f", made of {ids[0]} to {ids[-1]}" if ids else "")
        function, weights = node.get("function"), node.get("weights")
        name = node.get("architecture") or type(self.parts.classifier).__name__
        name = f"classifier.function {function}" if function else f"classifier {name}"
        loaded = f", weights {weights}," if weights else ""
        return f"{name}{loaded} answers {error.value:.3g} for {image}: {error.expected}"


class StoredArtefacts(Cache):
    """The artefacts of a job for tables and figures. They are read and never computed, so that no network is needed.

    Raises: NotStored for a missing artefact, with the command that computes it.
    """

    def obtain(self, artefact: Artefact, n_images: int) -> Shard:
        shard = self.store.read(artefact.key(n_images))
        if shard is None:
            raise self.not_stored(artefact, n_images)
        return shard

    def not_stored(self, artefact: Artefact, n_images: int) -> NotStored:
        config, first = self.parts.config, artefact.group * GROUP
        images = f" of images {first} to {first + n_images - 1}" if n_images else ""
        missing = f"{artefact.kind}{images} is not stored in {self.store.folder(artefact.kind, artefact.fingerprint)}"
        choices = config.get("choices") or {}
        chosen = [f"{role}={name}" for role, name in choices.items() if name]
        if preset := choices.get("experiment"):
            chosen = [f"-m experiment={preset}"]
        options = [] if artefact.write else [f"keep_gb=<more than {config['keep_gb']:g}>"]
        if artefact.kind not in PROMISED:
            options.append("force=true")
        command = " ".join(["python -m pomelo_lab.run", *chosen, f"paths.outputs={self.store.root}"])
        return NotStored(missing, command, " ".join(options))
