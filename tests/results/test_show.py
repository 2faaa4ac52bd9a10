import sys

import pytest

from pomelo_lab.results import show
from pomelo_lab.results.show import folder_name, main, runnable, take_flag
from tests.results.fake import FakeCell


def test_refused_cells_leave_gaps_as_in_the_run(monkeypatch, capsys):
    good, bad = FakeCell({}, point={"sampler": "a"}), FakeCell({}, point={"sampler": "b"}, error="it does not fit")
    grid = [good, bad]
    monkeypatch.setattr(show, "cells", lambda *arguments, strict: list(grid))
    assert runnable("t", []) == [good, bad]
    assert "1 of 2 cells cannot run, the others do:\n  sampler=b: it does not fit" in capsys.readouterr().err
    grid.remove(good)
    with pytest.raises(ValueError, match="1 of 1 cells cannot run"):
        runnable("t", [])


def test_folders_keep_other_questions_apart():
    assert folder_name("quick", ["scale=quick", "paths.outputs=/x", "force=true"]) == "quick"
    assert folder_name("quick", ["dataset=digits", "seed=0,1"]) == "quick,dataset=digits,seed=0,1"


def test_folder_names_hold_no_paths_and_stay_short_and_apart():
    roots = [
        folder_name("quick", ["dataset=image_folder", f"dataset.root={root}"])
        for root in ("/data/birds", "/data/cars", "cars/a")
    ]
    assert len(set(roots)) == 3 and all(
        name.startswith("quick,dataset=image_folder,") and "birds" not in name for name in roots
    )
    long = [
        folder_name("quick", [*(f"explainer.key{k}=12345678" for k in range(20)), f"seed={seed}"]) for seed in (0, 1)
    ]
    assert long[0] != long[1] and all(len(name) < 100 for name in long)
    assert folder_name("quick", ["row=a b"]) != folder_name("quick", ["row=a_b"])


def test_a_figure_is_asked_for_by_name():
    assert take_flag("--figure", ["t", "--figure", "tradeoff", "scale=smoke"]) == (["tradeoff"], ["t", "scale=smoke"])
    assert take_flag("--figure", ["--figure=mine.bars", "t"]) == (["mine.bars"], ["t"])
    assert take_flag("--yours", ["--yours", "a=b", "--yours=c=d"]) == (["a=b", "c=d"], [])
    assert take_flag("--figure", ["t", "--figure"]) == ([], ["t", "--figure"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["pomelo_table1", "--figur", "x"], "--figur is unknown, did you mean '--figure'?; the flags are --figure, "),
        (["pomelo_table1", "--matchd=1"], "--matchd is unknown, did you mean '--matched'?"),
        (["pomelo_table1", "--figure"], "--figure needs the name of a figure"),
        (["pomelo_table1", "--figure", "nosuch"], "no figure nosuch; there are: baseline_sheet, contrast_sheet, "),
    ],
)
def test_a_wrong_flag_or_figure_is_one_line_before_anything_is_composed(arguments, line, capsys, monkeypatch):
    monkeypatch.setattr("pomelo_lab.results.show.cells", None)
    monkeypatch.setattr("sys.path", [*sys.path])
    assert main(arguments) == 2
    out, text = capsys.readouterr()
    assert out == "" and text.startswith(line) and text.count("\n") == 1
    assert "dispatch" not in text and "style" not in text


def test_a_preset_without_a_report_is_told_with_the_command_that_prints_its_scores(capsys):
    assert main(["pomelo_quickstart", "scale=smoke"]) == 2
    assert "python -m pomelo_lab.run -m experiment=pomelo_quickstart prints" in capsys.readouterr().err
