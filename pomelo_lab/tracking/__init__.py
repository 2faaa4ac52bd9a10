"""Experiment tracking beside the results on disk; nothing outside this folder imports wandb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomelo_lab.engine.scores import Scores
    from pomelo_lab.metric.base import Summary


class NoTracker:
    """`tracking=none`, and what remains when a tracker cannot start."""

    def log(self, scores: Scores, summaries: Mapping[str, Summary]) -> None:
        """Nothing to do: the results are on disk."""


@contextmanager
def session(config: Mapping[str, Any], scores: Scores) -> Iterator[Any]:
    """One tracked run per job, finished as failed when the block raises. Results on disk never depend on it."""
    if not config.get("tracking") or config["tracking"]["mode"] == "none":
        yield NoTracker()
        return
    from pomelo_lab.tracking.wandb_run import wandb_session

    with wandb_session(config, scores) as tracker:
        yield tracker


def log_table(
    config: Mapping[str, Any], name: str, folder: Path, figures: Sequence[Path] = (), group: str = ""
) -> None:
    """Track the table of a grid that ended: the files below `folder`, and its figures. Results on disk never depend on
    it.

    Args: group: of the grid's jobs, where their config does not say it.
    """
    if not config.get("tracking") or config["tracking"]["mode"] == "none":
        return
    from pomelo_lab.tracking import wandb_run

    wandb_run.log_table(config, name, folder, figures, group)
