"""A figure is drawn once. It is drawn again when a job, the style or a file of it has changed."""

import pytest

from pomelo_lab.results import drawn
from pomelo_lab.results.figure import cost, dispatch
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.report import Report, Row
from pomelo_lab.results.table import Table


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("POMELO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def drawings(monkeypatch):
    """Counts drawings, each of which writes its number."""
    calls = []

    def draw(cells, path, **options):
        calls.append(path)
        for file in (path, path.with_suffix(".pdf")):
            file.write_text(str(len(calls)))
        return path

    monkeypatch.setattr(cost, "draw", draw)
    return calls


def make_table(outputs, label="Blur", figure="cost", **changes):
    """The table of one finished job, whose score folder is made by hand."""
    folder = outputs / "score" / "f1"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "summary.json").exists():
        (folder / "summary.json").write_text("{}")
    config = {"paths": {"outputs": str(outputs)}, "seed": 0}
    given = {"folders": (), "fingerprint": "f1", **changes}
    cell, row = GridCell({"sampler": "blur"}, {}, config, **given), Row("blur", label)
    report = Report("t", "", "", rows=(row,), figure=figure)
    return Table(report, "smoke", (), (row,), {}, {}, (), (), {}, finished={"blur": [cell]})


def test_it_is_drawn_once(tmp_path, drawings):
    for _ in range(2):
        assert dispatch.draw_figure(make_table(tmp_path), tmp_path) == tmp_path / "cost.png"
    assert len(drawings) == 1
    dispatch.draw_figure(make_table(tmp_path, label="Blurred"), tmp_path)
    dispatch.draw_figure(make_table(tmp_path, label="Blurred"), tmp_path / "..." / "..")
    assert len(drawings) == 2, "another label is another figure; another way to write the folder is not"


@pytest.mark.parametrize("name", ["cost.png", "cost.pdf", "score/f1/summary.json", "score/f1/sheet.png"])
def test_it_is_drawn_again_when_a_file_changed(name, tmp_path, drawings):
    dispatch.draw_figure(make_table(tmp_path), tmp_path)
    (tmp_path / name).write_text("changed")
    dispatch.draw_figure(make_table(tmp_path), tmp_path)
    dispatch.draw_figure(make_table(tmp_path), tmp_path)
    assert len(drawings) == 2 and (tmp_path / "cost.png").read_text() == "2"


def test_it_is_drawn_again_when_a_file_is_gone(tmp_path, drawings):
    dispatch.draw_figure(make_table(tmp_path), tmp_path)
    (tmp_path / "cost.pdf").unlink()
    dispatch.draw_figure(make_table(tmp_path), tmp_path)
    assert len(drawings) == 2 and (tmp_path / "cost.pdf").exists()


def test_code_of_users_is_never_remembered(tmp_path, drawings):
    """A figure of theirs, or components of theirs, may draw something else tomorrow."""
    for _ in range(2):
        dispatch.draw_figure(make_table(tmp_path, folders=(str(tmp_path),)), tmp_path)
    assert len(drawings) == 2
    cell = make_table(tmp_path).finished["blur"][0]
    assert drawn.ask("mine.bars", {}, [(cell, Row("blur", "Blur"))], {}, tmp_path / "bars.png") is None
