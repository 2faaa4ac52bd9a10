"""An artefact: the tensors that one stage of a job stores, and how they are made."""

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
        make: (view of the classifier, result of `inputs`) -> tensors by name. It is called under the artefact's lock.
        inputs: gets what `make` works on, which may be other artefacts. It is called before the lock is taken, so that
            no two locks are held at once.
        group: number of a group of the job's images, or of a part.
        access: which view of the classifier `make` receives.
        n_images: the artefact is about the first n_images of the group; None = all.
        of_images: False for statistics of training images.
        keep: False where it is made each time and not written, because it is over the job's limit.
        hold: whether it stays in memory until the next group.
        wait: False gives None while another process makes it.
        about: further values to record beside seconds, queries and evaluations, asked after `make`.
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
