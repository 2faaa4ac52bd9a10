"""Experiment tracking, in addition to the results on disk. Only this folder imports wandb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomelo_lab.tracking.no_tracker import NoTracker

if TYPE_CHECKING:
    from pomelo_lab.engine.scores import Scores


@contextmanager
def session(config: Mapping[str, Any], scores: Scores) -> Iterator[Any]:
    """Tracks a job as one run, which is marked as failed when the block raises.

    The results on disk never depend on the tracker.
    """
    if not config.get("tracking") or config["tracking"]["mode"] == "none":
        yield NoTracker()
        return
    from pomelo_lab.tracking.wandb_run import wandb_session

    with wandb_session(config, scores) as tracker:
        yield tracker


def log_table(
    config: Mapping[str, Any], name: str, folder: Path, figures: Sequence[Path] = (), group: str = ""
) -> None:
    """Tracks the table of a finished grid. The results on disk never depend on the tracker.

    Args:
        folder: the folder with the files of the table.
        figures: the figures of the grid.
        group: the group of the grid's jobs, used when their config names none.
    """
    if not config.get("tracking") or config["tracking"]["mode"] == "none":
        return
    from pomelo_lab.tracking import wandb_run

    wandb_run.log_table(config, name, folder, figures, group)
