"""The progress of a job: a bar on a terminal; in a log file a line per long stage, and one every 20 seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

SECONDS_BETWEEN_LINES = 20.0
SECONDS_OF_A_STAGE = 2.0  # a stage that takes longer is named in a log file; shorter ones would only fill it
STAGES = {
    "clean": "the classifier's answers",
    "perturbation": "perturbations",
    "prediction": "answers to perturbations",
    "explanation": "explanations",
    "reference": "statistics of the training images",
    "part": "statistics of the training images",
}


class Progress:
    """Counts images and names the current stage; silent on ranks other than the first.

    Images are counted when all of their stages are done. The bar moves with every stage, so that it also moves in a job
    of one group of images.
    """

    last: ClassVar[Progress | None] = None  # of this process: an interrupted command asks it what is finished

    def __init__(self, bar: Any = None, shown: bool = True, now: Any = time.monotonic) -> None:
        self.bar, self.shown, self.now = bar, shown, now
        self.task: Any = None
        self.title, self.stage, self.metric = "", "", ""
        self.total = self.seen = self.size = self.stages = self.passed = 0
        self.start = self.begun = self.spoke = now()
        self.named: set[str] = set()
        Progress.last = self

    def groups(self, groups: Iterable[int], job: Job) -> Iterator[int]:
        """Yield the groups one by one, and move the bar after each."""
        groups = list(groups)
        self.total, self.start = sum(job.selection.group_size(g) for g in groups), self.now()
        self.stages = job.parts.explains + len(job.parts.metrics)
        choices = job.config.get("choices") or {}
        self.title = "/".join(choices[r] for r in ("dataset", "sampler", "explainer") if r in choices) or "job"
        job.cache.tell = self.tell
        if self.bar is not None:
            self.task = self.bar.add_task(self.title, total=self.total, left="")
        for group in groups:
            self.size, self.passed = job.selection.group_size(group), 0
            yield group
            self.seen, self.size = self.seen + self.size, 0
            self.update()

    def say(self, metric: str) -> None:
        """Name the metric that is scored next."""
        self.metric, self.passed = metric, self.passed + 1
        self.enter(metric)

    def tell(self, kind: str) -> None:
        """Name the kind of artefact that is being made; artefacts that are read from disk are no stage."""
        stage = STAGES.get(kind, self.metric)
        self.enter(f"{self.metric}, {stage}" if self.metric and kind in ("reference", "part") else stage)

    def enter(self, stage: str) -> None:
        if stage != self.stage:
            self.stage, self.begun = stage, self.now()
        self.update()

    def update(self) -> None:
        """Show the progress on the bar."""
        if self.bar is not None and self.task is not None:
            done = self.seen + self.size * self.passed / (self.stages + 1)
            left = f"about {spelled(seconds)} left" if (seconds := self.seconds_left()) is not None else ""
            self.bar.update(self.task, completed=done, description=f"{self.title} · {self.stage}", left=left)

    def seconds_left(self) -> float | None:
        """Time left in seconds, at the mean time per image so far; None before the first group is done, and when
        nothing is left."""
        rest = self.total - self.seen
        return (self.now() - self.start) / self.seen * rest if self.seen and rest else None

    def line(self) -> str | None:
        """The next line of a log file; None until a stage has become long or 20 seconds have passed."""
        now = self.now()
        new = self.stage and self.stage not in self.named and now - self.begun >= SECONDS_OF_A_STAGE
        if not new and now - self.spoke < SECONDS_BETWEEN_LINES:
            return None
        self.named.add(self.stage)
        self.spoke = now
        left = f", about {spelled(seconds)} left" if (seconds := self.seconds_left()) is not None else ""
        return f"{self.title}: {self.stage}: {self.seen}/{self.total} images done, {spelled(now - self.start)}{left}"

    def kept(self) -> str:
        """What is on disk if the job stops now, in words."""
        return (
            f"{self.seen} of {self.total} images of {self.title} are finished and kept"
            if self.total
            else "nothing was computed yet"
        )


def spelled(seconds: float) -> str:
    """A duration in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress(shown: bool = True) -> Iterator[Progress]:
    """A progress display for the block."""
    if not shown:
        yield Progress(None, shown)
    elif sys.stderr.isatty():
        with make_bar() as bar:
            yield Progress(bar, shown)
    else:
        logged, stop = Progress(None, shown), threading.Event()
        thread = threading.Thread(target=write_lines, args=(logged, stop), daemon=True)
        thread.start()
        try:
            yield logged
        finally:
            stop.set()


def write_lines(logged: Progress, stop: threading.Event) -> None:
    """Write the lines of a log file until the block ends; a stage of minutes is named while it runs."""
    while not stop.wait(0.5):
        if text := logged.line():
            print(text, file=sys.stderr, flush=True)


def make_bar() -> Any:
    """The bar of a terminal."""
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=20),
        rich.TaskProgressColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("{task.fields[left]}"),
    )
    return rich.Progress(*columns, console=Console(stderr=True))
