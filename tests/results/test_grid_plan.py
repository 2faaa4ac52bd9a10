"""The plan of a grid: every job has a line, the last one is their sum."""

from __future__ import annotations

import io

from rich.console import Console

from pomelo_lab.results.grid_plan import counted, print_grid_plan
from tests.results.fake import FakeCell
from tests.running import config


def test_a_grid_is_planned_with_its_sum_and_what_cannot_run_is_named(tmp_path):
    cells = [FakeCell({}, point={"n_images": str(n)}, config=config(tmp_path, f"n_images={n}")) for n in (2, 3)]
    cells.append(FakeCell({}, point={"sampler": "ideal"}, lacks="needs Portraits, not Digits"))
    queries = [counted(cell)[0]["queries"] for cell in cells[:2]]
    assert queries[1] * 2 == queries[0] * 3 > 0
    screen = Console(file=io.StringIO(), width=160)
    print_grid_plan(cells, screen)
    text = screen.file.getvalue()
    total = next(line for line in text.splitlines() if "3 jobs" in line)
    assert f"{sum(queries):,}" in total and "computed once" in total
    assert "needs Portraits, not Digits" in text and not list(tmp_path.iterdir()), "a plan runs nothing"
