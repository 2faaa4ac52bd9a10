"""Progress with an ETA: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pomelo_lab.job import Job

SECONDS_BETWEEN_LINES = 20.0


class Progress:
    """Counts images; silent on ranks other than the first."""

    def __init__(self, bar: Any, shown: bool) -> None:
        self.bar, self.shown = bar, shown
        self.task: Any = None
        self.title = ""

    def groups(self, groups: Iterable[int], job: Job) -> Iterator[int]:
        """The groups one by one, the bar moving on after each."""
        groups = list(groups)
        total, seen, start, last = sum(job.group_size(g) for g in groups), 0, time.monotonic(), time.monotonic()
        choices = job.config.get("choices") or {}
        self.title = "/".join(choices[r] for r in ("dataset", "sampler", "explainer") if r in choices) or "job"
        if self.bar is not None:
            self.task = self.bar.add_task(self.title, total=total)
        for group in groups:
            yield group
            seen += job.group_size(group)
            now = time.monotonic()
            if self.bar is not None:
                self.bar.update(self.task, completed=seen)
            elif self.shown and (now - last > SECONDS_BETWEEN_LINES):
                left = (now - start) / seen * (total - seen)
                print(f"{self.title}: {seen}/{total} images, {now - start:.0f} s, about {left:.0f} s left", file=sys.stderr, flush=True)
                last = now

    def say(self, what: str) -> None:
        """Name the step at hand beside the bar."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, description=f"{self.title} · {what}")


@contextmanager
def progress(shown: bool = True) -> Iterator[Progress]:
    """A progress display for the block."""
    if not (shown and sys.stderr.isatty()):
        yield Progress(None, shown)
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("images"),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as bar:
        yield Progress(bar, shown)
