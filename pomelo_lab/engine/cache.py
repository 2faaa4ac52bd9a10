"""The artefacts of a job: taken from memory, else from disk, else made."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.classifier.base import NotFinite, view
from pomelo_lab.engine.artefact import Artefact
from pomelo_lab.engine.components import Components
from pomelo_lab.engine.inventory import PROMISED
from pomelo_lab.engine.selection import Selection
from pomelo_lab.engine.store import GROUP, Shard, Store
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.types import Batch


class NotStored(ValueError):
    """An artefact that is read, and that no run has stored.

    missing: which one, and where it would lie. options: overrides without which a finished job does not make it.
    """

    def __init__(self, missing: str, command: str, options: str = "") -> None:
        super().__init__(f"{missing}: {' '.join(filter(None, (command, options)))} makes it")
        self.missing, self.options = missing, options


class Cache:
    """A job's artefacts: each is made at most once, and read afterwards.

    Args:
        store: where artefacts are kept.
        parts: the job's components; its classifier answers.
        selection: the job's images.
        tell: is told the kind of each artefact that is made, before it is.
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
        return self.once("batch", "", group, lambda: self.selection.batch(group).to(self.parts.device))

    def label(self, group: int) -> Tensor:
        """The labels of a group, of its images where they are at hand."""
        batch = self.memory.get(("batch", "", group))
        return self.selection.label(group).to(self.parts.device) if batch is None else batch.label

    def clear(self) -> None:
        """Forget what is in memory; what is on disk stays."""
        self.memory.clear()

    def once(self, kind: str, fingerprint: str, group: int, make: Callable[[], Any]) -> Any:
        """The value of make(), called at the first use and remembered until `clear`."""
        key = (kind, fingerprint, group)
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]

    def get(self, artefact: Artefact) -> Shard | None:
        """The artefact from memory, else from disk, else made; None while another process makes it and the artefact
        does not wait."""
        n_images = (artefact.n_images or self.selection.group_size(artefact.group)) if artefact.of_images else 0
        if not artefact.hold:
            return self.obtain(artefact, n_images)
        name = f"{artefact.fingerprint}-{n_images}"
        return self.once(artefact.kind, name, artefact.group, lambda: self.obtain(artefact, n_images))

    def obtain(self, artefact: Artefact, n_images: int) -> Shard | None:
        """The artefact from disk, else made."""
        make = partial(self.make, artefact, n_images)
        shard, _ = self.store.get_or_make(artefact.key(n_images), make, artefact.inputs, artefact.keep, artefact.wait)
        if artefact.keep:
            self.store.describe(artefact.kind, artefact.fingerprint, artefact.provenance)
        return shard

    def make(self, artefact: Artefact, n_images: int, inputs: Any) -> Shard:
        """Make an artefact of `n_images` images; record seconds, classifier queries and generator evaluations."""
        self.tell(artefact.kind)
        parts = self.parts
        classifier = (
            view(parts.classifier, artefact.access, parts.batch_size, parts.device)
            if artefact.kind != "perturbation"
            else None
        )
        start, evaluated = time.perf_counter(), EvaluationCounter.n
        try:
            with torch.inference_mode(False):
                tensors = artefact.make(classifier, inputs)
        except NotFinite as error:
            raise ValueError(
                self.not_finite(error, artefact.kind, artefact.group if artefact.of_images else None)
            ) from error
        if parts.device.type == "cuda":
            torch.cuda.synchronize(parts.device)
        cost = {
            "seconds": time.perf_counter() - start,
            "queries": classifier.queries if classifier else 0,
            "evaluations": EvaluationCounter.n - evaluated,
        }
        ids = list(self.batch(artefact.group).image_id[:n_images]) if artefact.of_images else []
        return Shard(
            {name: tensor.detach().cpu() for name, tensor in tensors.items()},
            {"image_id": ids, **cost, **artefact.about()},
        )

    def not_finite(self, error: NotFinite, kind: str, group: int | None) -> str:
        """The message that names the classifier which answered NaN or infinity, and the image as far as it is known.

        Args: group: None for training images.
        """
        node, ids = self.parts.config["classifier"], self.batch(group).image_id if group is not None else ()
        if kind in ("clean", "prediction"):
            image = f"{'a perturbation of ' if kind == 'prediction' else ''}{ids[error.row * len(ids) // error.n]}"
        else:
            image = f"an image of the stage {kind}" + (f", made of {ids[0]} to {ids[-1]}" if ids else "")
        what = node.get("function") or node.get("architecture") or type(self.parts.classifier).__name__
        weights = f", weights {node['weights']}" if node.get("weights") else ""
        return f"classifier {what}{weights} answers values that are not finite (NaN or infinite) for {image}"


class StoredArtefacts(Cache):
    """A job's artefacts for tables and figures: read, never made, so that no network is asked.

    Raises: NotStored for a missing one, with the command that makes it.
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
        options = [] if artefact.keep else [f"keep_gb=<more than {config['keep_gb']:g}>"]
        if artefact.kind not in PROMISED:
            options.append("force=true")
        command = " ".join(["python -m pomelo_lab.run", *chosen, f"paths.outputs={self.store.root}"])
        return NotStored(missing, command, " ".join(options))
