"""Artefacts: the tensors of one stage of a job, with the function that computes them."""

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
    """The tensors of one stage, for one group of images or for the training images.

    Args:
        kind: the name of the stage, which is a folder of the store ("explanation").
        provenance: all that determines the tensors.
        make: (view of the classifier, result of `inputs`) -> tensors by name. It is called under the artefact's lock.
        inputs: returns the inputs of `make`, which may be other artefacts. It is called before the lock is taken, so
            that a process holds the lock of one artefact only, and below it at most that of a part of statistics.
        group: the number of a group of the job's images, or of a part of statistics.
        access: the view of the classifier that `make` receives.
        n_images: the artefact covers the first n_images of the group; None = all of them.
        of_images: False for statistics of training images.
        write: False = the artefact is computed each time and not written, because it exceeds the job's limit.
        hold: whether it stays in memory until the next group.
        wait: False = the result is None while another process computes the artefact.
        about: returns further values to record besides seconds, queries and evaluations. It is called after `make`.
    """

    kind: str
    provenance: Mapping[str, Any]
    make: Callable[[BlackBox | None, Any], Mapping[str, Tensor]]
    inputs: Callable[[], Any] = lambda: None
    group: int = 0
    access: Literal["black_box", "white_box"] = "black_box"
    n_images: int | None = None
    of_images: bool = True
    write: bool = True
    hold: bool = True
    wait: bool = True
    about: Callable[[], Mapping[str, Any]] = dict

    @cached_property
    def fingerprint(self) -> str:
        return digest(self.provenance)

    def key(self, n_images: int) -> ShardKey:
        """The key of the artefact's shard with this number of images."""
        return ShardKey(self.kind, self.fingerprint, self.group, n_images)
