"""The progress of a job: a bar on a terminal, or lines in a log file.

The log file gets a line for each long stage, and a line every 20 seconds.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from pomelo_lab.cost import format_duration

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

SECONDS_BETWEEN_LINES = 20.0
SECONDS_OF_A_STAGE = 2.0  # a log file names only stages that take longer
STAGES = {
    "clean": "the classifier's answers",
    "perturbation": "perturbations",
    "prediction": "answers to perturbations",
    "explanation": "explanations",
    "reference": "statistics of the training images",
    "part": "statistics of the training images",
}


class Progress:
    """Counts finished images and names the current stage. Only the first process shows it.

    An image counts when all of its stages are done. The bar moves after every stage, so that it also moves in a job
    with a single group of images.
    """

    # the latest one of this process, from which an interrupted command learns what is finished
    last: ClassVar[Progress | None] = None

    def __init__(self, bar: Any = None, shown: bool = True, now: Any = time.monotonic) -> None:
        self.bar, self.shown, self.now = bar, shown, now
        self.task: Any = None
        self.title, self.stage, self.metric = "", "", ""
        self.total = self.seen = self.size = self.stages = self.passed = 0
        self.start = self.begun = self.spoke = now()
        self.named: set[str] = set()
        Progress.last = self

    def groups(self, groups: Iterable[int], job: Job) -> Iterator[int]:
        """Yields the groups one by one, and moves the bar after each of them."""
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
        """Sets the metric that is computed next."""
        self.metric, self.passed = metric, self.passed + 1
        self.enter(metric)

    def tell(self, kind: str) -> None:
        """Sets the kind of artefact that is computed next. Artefacts that are read from disk are not announced."""
        stage = STAGES.get(kind, self.metric)
        self.enter(f"{self.metric}, {stage}" if self.metric and kind in ("reference", "part") else stage)

    def enter(self, stage: str) -> None:
        if stage != self.stage:
            self.stage, self.begun = stage, self.now()
        self.update()

    def update(self) -> None:
        """Moves the bar to the present state."""
        if self.bar is not None and self.task is not None:
            done = self.seen + self.size * self.passed / (self.stages + 1)
            left = f"about {format_duration(seconds)} left" if (seconds := self.seconds_left()) is not None else ""
            self.bar.update(self.task, completed=done, description=f"{self.title} · {self.stage}", left=left)

    def seconds_left(self) -> float | None:
        """The remaining time in seconds, estimated from the mean time per image so far.

        None before the first group is done and after the last one.
        """
        rest = self.total - self.seen
        return (self.now() - self.start) / self.seen * rest if self.seen and rest else None

    def line(self) -> str | None:
        """The next line for a log file. None unless a stage has become long or 20 seconds have passed."""
        now = self.now()
        new = self.stage and self.stage not in self.named and now - self.begun >= SECONDS_OF_A_STAGE
        if not new and now - self.spoke < SECONDS_BETWEEN_LINES:
            return None
        self.named.add(self.stage)
        self.spoke = now
        left = f", about {format_duration(seconds)} left" if (seconds := self.seconds_left()) is not None else ""
        done = f"{self.seen}/{self.total} images done, {format_duration(now - self.start)}"
        return f"{self.title}: {self.stage}: {done}{left}"

    def describe_stored(self) -> str:
        """Says in words which results are on disk when the job stops now."""
        return (
            f"{self.seen} of {self.total} images of {self.title} are finished and kept"
            if self.total
            else "nothing was computed yet"
        )


@contextmanager
def progress(shown: bool = True) -> Iterator[Progress]:
    """Shows the progress during the block.

    Args: shown: False = show nothing, for processes other than the first.
    """
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
    """Writes the lines of a log file until `stop` is set. It runs in a thread, so that it reports long stages too."""
    while not stop.wait(0.5):
        if text := logged.line():
            print(text, file=sys.stderr, flush=True)


def make_bar() -> Any:
    """Builds the progress bar for a terminal."""
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
