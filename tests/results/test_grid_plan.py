"""Plans on the terminal: every job or stage has a line, the last one is their sum."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pomelo_lab.engine.plan import Ask, Step, sum_steps
from pomelo_lab.results.grid_plan import format_time, line_of, print_grid_plan, print_steps
from tests.results.fake import FakeCell
from tests.running import config


def screen(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width)


def test_a_grid_is_planned_with_its_sum_and_what_cannot_run_is_named(tmp_path):
    cells = [FakeCell({}, point={"n_images": str(n)}, config=config(tmp_path, f"n_images={n}")) for n in (2, 3)]
    cells.append(FakeCell({}, point={"sampler": "ideal"}, lacks="needs Portraits, not Digits"))
    queries = [line_of(cell.name, cell.config).queries for cell in cells[:2]]
    assert queries[1] * 2 == queries[0] * 3 > 0
    console = screen()
    print_grid_plan(cells, console)
    text = console.file.getvalue()
    whole = next(line for line in text.splitlines() if line.startswith("3 jobs"))
    assert f"up to {sum(queries):,}" in whole and "3 jobs: without trainings; what jobs share is computed once" in text
    assert "sampler=ideal: not run: needs Portraits, not Digits" in text
    assert not list(tmp_path.iterdir()), "a plan runs nothing"


def test_a_job_of_a_grid_that_would_be_refused_is_named_and_the_others_are_planned(tmp_path):
    settings = config(tmp_path)
    cells = [FakeCell({}, point={"target": rule}, config={**settings, "target": rule}) for rule in ("label", "11")]
    console = screen()
    print_grid_plan(cells, console)
    text = " ".join(console.file.getvalue().split())
    assert "target=11: not run: " in text and "target=label: not run" not in text, text


def shown(*steps: Step, width: int = 80) -> str:
    console = screen(width)
    print_steps("plan", "stage", [*steps, sum_steps(steps, "total", 4)], console)
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    return text


def test_limits_and_what_is_not_known_say_what_they_are():
    exact = Step("clean images", 4, (Ask("queries", 12345),), bytes=2000, seconds=0.2)
    bound = Step("metric saliency", 4, (Ask("queries", 4659),), note="ends early", at_most=True, seconds=200.0)
    lines = [" ".join(line.split()) for line in shown(exact, bound).splitlines()]
    assert "clean images 4 12,345 2.0 kB < 1 s" in lines and "saliency 4 up to 4,659 up to 3 min" in lines
    assert "total 4 up to 17,004 2.0 kB up to 3 min" in lines and "saliency: ends early" in lines
    assert not any(line.startswith("?") for line in lines)
    text = shown(exact, Step("explanations", 4, (Ask("queries", 5),), seconds=None))
    assert text.count("?") == 3 and "?: not measured: trainings, functions of yours" in text


@pytest.mark.parametrize("name", ["insertion_mean_dataset", "sampler=inpaint_ddim explainer=lime seed=0"])
def test_names_give_way_and_numbers_stay_whole(name):
    asks = (Ask("queries", 10**7), Ask("evaluations", 10**7))
    step = Step(f"metric {name}", 4, asks, 10**9, at_most=True, seconds=9000.0)
    assert shown(step).count("up to 10,000,000 up to 10,000,000  1.0 GB up to 2.5 h") == 2
    assert f"{name} " in shown(step, width=120)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (0.0, ""), (0.2, "< 1 s"), (42.4, "42 s"), (600.0, "10 min"), (36000.0, "10.0 h")],
)
def test_times_for_people(seconds, text):
    assert format_time(Step("explanations", 1, seconds=seconds)) == text
