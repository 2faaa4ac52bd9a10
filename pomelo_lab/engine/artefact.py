"""What a job stores of one stage, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.store import ShardKey


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """The tensors of one stage for one group of images, or measured on training images.

    Args:
        kind: the stage, a folder of the store ("explanation").
        provenance: all that determines the tensors.
        make: (view of the classifier, what `inputs` returned) -> tensors by name; called under the artefact's lock.
        inputs: gets what `make` looks at, other artefacts among it. It is called before the lock is taken, so that no
            two locks are held at once.
        group: of the job's images, or the number of a part.
        access: the view of the classifier.
        n_images: images of the group that it is about, the first ones; None = all.
        of_images: False for what is measured on training images.
        keep: whether it is written; large ones over the job's limit are made again.
        hold: whether it stays in memory until the next group.
        wait: False gives None while another process makes it.
        about: what is recorded beside seconds, queries and evaluations, asked once it is made.
    """

    kind: str
    provenance: Mapping[str, Any]
    make: Callable[[BlackBox | None, Any], Mapping[str, Tensor]]
    inputs: Callable[[], Any] = lambda: None
    group: int = 0
    access: Literal["black_box", "white_box"] = "black_box"
    n_images: int | None = None
    of_images: bool = True
    keep: bool = True
    hold: bool = True
    wait: bool = True
    about: Callable[[], Mapping[str, Any]] = dict

    @cached_property
    def fingerprint(self) -> str:
        return digest(self.provenance)

    def key(self, n_images: int) -> ShardKey:
        """Its shard of so many images."""
        return ShardKey(self.kind, self.fingerprint, self.group, n_images)
