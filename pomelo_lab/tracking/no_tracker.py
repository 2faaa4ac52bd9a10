"""A tracker that does nothing. It needs no other tracker, so that each of them can fall back to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pomelo_lab.engine.scores import Scores
    from pomelo_lab.metric.base import Summary


class NoTracker:
    """A tracker that does nothing, for `tracking=none` and for a tracker that cannot start."""

    def log(self, scores: Scores, summaries: Mapping[str, Summary]) -> None:
        """Does nothing, because the results are on disk."""
