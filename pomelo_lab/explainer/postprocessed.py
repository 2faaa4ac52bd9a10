"""Explainers with arguments that only choose how a stored explanation is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pomelo_lab.explainer.base import Explainer
from pomelo_lab.types import Explanation


class Postprocessed(ABC):
    """A mixin for explainers that compute one explanation and can show it in several ways.

    `explain` returns what is stored and `postprocess` turns that into what a job reports. The arguments that only
    `postprocess` reads stay out of the stored explanation's fingerprint, so that it is computed once for all their
    values.

    postprocess_arguments: the names of those arguments.
    """

    postprocess_arguments: ClassVar[frozenset[str]]

    @abstractmethod
    def postprocess(self, explanation: Explanation) -> Explanation:
        """The explanation that a job reports, from the stored one."""


def postprocessed(explainer: Explainer, explanation: Explanation) -> Explanation:
    """The explanation that a job reports: the stored one, post-processed if the explainer is `Postprocessed`."""
    return explainer.postprocess(explanation) if isinstance(explainer, Postprocessed) else explanation
