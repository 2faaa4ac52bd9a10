import pytest

from pomelo_lab.results.figure import style
from pomelo_lab.results.report import Row
from tests.results.fake import FakeCell

ORIGIN = "portraits · a, b · scale=smoke · 1970-01-02"


def test_a_figure_says_where_it_comes_from(tmp_path):
    """The caption lies below what the figure draws, which keeps its size."""
    cells = [
        FakeCell({"dataset": "portraits", "classifier": name}, status={"started": 86400.0}) for name in ("a", "b", "a")
    ]
    assert style.describe_origin(cells) == ORIGIN
    sizes, drawn = [], []
    for key in ("", "red: x"):
        rows = [(cell, Row("r", "R")) for cell in cells]
        with style.styled(rows, {}), style.canvas(tmp_path / "f.png", 4, 2, key) as f:
            axes = f.subplots()
            drawn.append(f)
        sizes.append(axes.get_window_extent().height)
    assert sizes[0] == pytest.approx(sizes[1], abs=1)
    texts = [[text.get_text() for text in f.texts] for f in drawn]
    assert texts == [[ORIGIN], [f"red: x\n{ORIGIN}"]]
    with style.canvas(tmp_path / "g.png", 4, 2) as f:
        f.subplots()
    assert f.get_figheight() == 2 and f.texts[0].get_text() == ""
