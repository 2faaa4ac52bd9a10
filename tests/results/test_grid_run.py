"""The table of a grid: a row for each point with its seeds folded, a column for each metric."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from pomelo_lab.results.grid import reason
from pomelo_lab.results.grid_run import axes, digits, show_grid
from tests.results.fake import FakeCell


def cell(sampler, seed, values, state="done", outputs="."):
    point = {"sampler": sampler, "+explainer.width": "0.10", "seed": str(seed)}
    settings = {"scale": {"name": "smoke"}, "paths": {"outputs": outputs}, "explainer": {"width": 0.1}}
    return FakeCell(
        {"sampler": sampler},
        values,
        state,
        point,
        settings,
        {"error": "ValueError: no paint"} if state == "failed" else {},
    )


@pytest.fixture
def part(tmp_path):
    given = [
        ("gray", 0, [0.25, 0.75]),
        ("gray", 1, [0.5, 1.0]),
        ("blur", 0, [0.0, float("nan")]),
        ("blur", 1, [0.25, 0.25]),
    ]
    done = [cell(name, seed, {"l2": values}, outputs=str(tmp_path)) for name, seed, values in given]
    return [*done, cell("black", 0, {}, "failed", str(tmp_path))]


def test_rows_are_what_varies_and_seeds_are_folded(part, tmp_path):
    screen = Console(file=io.StringIO(), width=100)
    folder = show_grid(part, "", ["sampler=gray,blur,black", "seed=0,1"], screen)
    text = screen.file.getvalue()
    assert "sampler, width" in text and "l2 ↓" in text and "std over 2 seeds" in text and "paper" not in text
    assert "failed: sampler=black" in text and "no paint" in text and "4 of 5 jobs done, 1 failed" in text
    assert "python -m pomelo_lab.run -m sampler=gray,blur,black seed=0,1" in text and "experiment=" not in text
    assert folder.parts[: len(tmp_path.parts) + 1] == (*tmp_path.parts, "tables")
    rows = {row["label"]: row for row in csv.DictReader((folder / "table.csv").open())}
    gray, blur = rows["gray, width=0.10"], rows["blur, width=0.10"]
    assert float(gray["mean"]) == pytest.approx(0.625) and float(gray["std_repeats"]) == pytest.approx(0.25 / 2**0.5)
    assert gray["repeats"] == "2" and gray["n"] == "2" and blur["n_nan"] == "1"
    assert "0.625 ± 0.177" in (folder / "table.md").read_text()


def test_a_grid_without_a_finished_job_has_no_table(part, tmp_path):
    assert show_grid(part[-1:], "", [], Console(file=io.StringIO())) is None and not (tmp_path / "tables").exists()


def test_names_and_digits(part):
    assert axes(part) == "sampler_width_seed" and axes([]) == "grid"
    assert [digits([m]) for m in (0.01234, 1.5, 1234.0, 0.0, None)] == [4, 2, 0, 2, 2]


def test_a_reason_is_one_line():
    assert reason("the config has 2 problems:\n  - a is wrong\n  - b too") == "a is wrong; b too"
    assert reason("there is no file x") == "there is no file x"
