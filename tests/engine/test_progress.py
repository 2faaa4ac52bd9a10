"""Progress: a line per long stage, no promise before the first images, and what an interrupted job has kept."""

from __future__ import annotations

from types import SimpleNamespace

from pomelo_lab.engine.progress import SECONDS_BETWEEN_LINES, SECONDS_OF_A_STAGE, Progress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Bar:
    def __init__(self):
        self.seen = []

    def add_task(self, title, **_):
        return 0

    def update(self, task, **values):
        self.seen.append(values)


class SmallJob:
    """Groups of so many images, explained by LIME and scored by two metrics."""

    config = {"choices": {"sampler": "gray", "explainer": "lime"}}

    def __init__(self, sizes):
        self.parts = SimpleNamespace(explains=True, metrics={"deletion": None, "insertion": None})
        self.selection = SimpleNamespace(group_size=lambda group: sizes[group])
        self.cache = SimpleNamespace(tell=None)


def test_a_log_file_names_each_long_stage_once_and_then_now_and_then():
    clock = Clock()
    shown = Progress(now=clock)
    groups = shown.groups(range(2), SmallJob([16, 16]))
    next(groups)
    shown.tell("explanation")
    assert shown.line() is None, "it has just begun"
    clock.now = SECONDS_OF_A_STAGE
    assert shown.line() == "gray/lime: explanations: 0/32 images done, 2 s"
    assert shown.line() is None
    clock.now += SECONDS_BETWEEN_LINES
    assert shown.line() is not None
    shown.say("deletion")
    shown.tell("reference")
    clock.now += SECONDS_OF_A_STAGE
    assert "deletion, statistics of the training images" in shown.line()
    next(groups)
    clock.now += SECONDS_BETWEEN_LINES
    assert shown.line().endswith("left")


def test_a_job_of_one_group_moves_its_bar_and_promises_nothing():
    bar = Bar()
    shown = Progress(bar)
    for _ in shown.groups(range(1), SmallJob([4])):
        shown.tell("explanation")
        shown.say("deletion")
        shown.say("insertion")
    done = [values["completed"] for values in bar.seen]
    assert done == sorted(done) and len(set(done)) == 4 and done[-1] == 4
    assert {values["left"] for values in bar.seen} == {""}


def test_what_an_interrupted_job_has_kept():
    shown = Progress()
    groups = shown.groups(range(2), SmallJob([16, 4]))
    next(groups)
    assert shown.describe_stored().startswith("0 of 20 images")
    next(groups)
    assert shown.describe_stored() == "16 of 20 images of gray/lime are finished and kept" and Progress.last is shown
