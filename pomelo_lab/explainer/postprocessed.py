"""Explainers with arguments that only select a view of a stored explanation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from pomelo_lab.explainer.base import Explainer
from pomelo_lab.types import Explanation


class Postprocessed(ABC):
    """A mixin for explainers that compute one explanation and offer several views of it.

    `explain` returns the explanation that is stored, and `postprocess` converts it to the one that a job reports.
    Arguments that only `postprocess` reads are not part of the stored explanation's fingerprint. One stored explanation
    therefore serves all their values.

    postprocess_arguments: the names of these arguments.
    """

    postprocess_arguments: ClassVar[frozenset[str]]

    @abstractmethod
    def postprocess(self, explanation: Explanation) -> Explanation:
        """Converts a stored explanation to the one that a job reports."""


def postprocessed(explainer: Explainer, explanation: Explanation) -> Explanation:
    """The explanation that a job reports: the stored one, converted if the explainer is `Postprocessed`."""
    return explainer.postprocess(explanation) if isinstance(explainer, Postprocessed) else explanation
