"""Explainers whose statistics of training images take long and are stored part by part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from pomelo_lab.classifier.base import BlackBox
from pomelo_lab.dataset.base import Dataset

Thunk = Callable[[], dict[str, Tensor]]  # computes a part when it is called


class PartCache(Protocol):
    """Stores the parts of a long computation that depend on training images and on named arguments of the explainer
    alone, not on the classifier."""

    def __call__(
        self, arguments: frozenset[str], part: int, thunk: Thunk, wait: bool = True, **chosen: Any
    ) -> Mapping[str, Tensor] | None:
        """The stored part, computed by `thunk` where it is not stored yet; None when wait=False and another process is
        computing it.

        Args:
            arguments: names of the explainer's arguments that the part depends on; part: its number.
            chosen: values of arguments that `fit` itself chose, in place of the configured ones.
        """


def no_cache(
    arguments: frozenset[str], part: int, thunk: Thunk, wait: bool = True, **chosen: Any
) -> Mapping[str, Tensor]:
    """A `PartCache` that stores nothing and computes every part."""
    return thunk()


class FitInParts(ABC):
    """A mixin for explainers whose `fit` asks a cache for its parts.

    Several processes that need the same statistics compute different parts at the same time, and a fit that was
    interrupted continues at the first missing part.
    """

    @abstractmethod
    def fit(self, training: Dataset, classifier: BlackBox, cached_part: PartCache = no_cache) -> dict[str, Tensor]:
        """Statistics of training images, as `Explainer.fit` returns them.

        Args: cached_part: stores the parts separately.
        """

    @abstractmethod
    def prepare(self, training: Dataset, cached_part: PartCache) -> None:
        """Computes the parts that `fit` will read, with wait=False.

        All processes call this before one of them fits. Each computes parts that no other process is computing.
        """
