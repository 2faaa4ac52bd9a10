import math
from dataclasses import replace

import pytest

from pomelo_lab.results import table_files
from pomelo_lab.results.report import Column, Control, Row, parse_report
from pomelo_lab.results.table import build
from tests.results.test_render import shown
from tests.results.test_table import GOLDEN, TABLE, cell

MOVING = Column("moving", "moving", mark="> 0.02", mark_note="still moving when it was stopped", shown=False)
MARKED = replace(TABLE, columns=(*TABLE.columns, MOVING), control=Control("reference_val", "entropy_hard"))


def cells():
    return [
        cell(
            "black",
            mahalanobis=[700.0 + k for k in range(12)],
            entropy_hard=[0.5 + 0.01 * k for k in range(12)],
            moving=[0.05] * 12,
        ),
        cell("gray", mahalanobis=[300.0 + k for k in range(12)], entropy_hard=[2.5] * 12, moving=[0.01] * 12),
        cell("blur", mahalanobis=[300.0] * 12, entropy_hard=[1.9, 2.2] * 6, moving=[0.3] * 11 + [math.nan]),
        cell("reference_val", mahalanobis=[30.0] * 12, entropy_hard=[2.0] * 12, moving=None),
    ]


def by_name(table):
    return {mark.name: mark for mark in table.marks}


def test_rows_that_cross_a_limit_are_marked():
    table = build(MARKED, cells())
    mark = by_name(table)["moving"]
    assert mark.rows == {"black": "Black-out (0.05)", "blur": "Blur (0.3)"} and mark.symbol == "†"
    assert "moving" not in [c.metric for c in table.columns], "a column for its mark alone is not shown"
    assert any(
        note.startswith("† still moving when it was stopped (moving > 0.02): Black-out (0.05), Blur (0.3)")
        for note in table.notes()
    )
    assert "moving" not in by_name(build(replace(MARKED, columns=TABLE.columns), cells()))


def test_methods_that_do_not_beat_their_control_are_marked():
    """Entropy, higher is better: gray is clearly above the control, black below it, blur on both sides; the control is
    not its own."""
    table = build(MARKED, cells())
    assert set(by_name(table)["control"].rows) == {"black", "blur"}
    assert "no better than its control Validation in E_hard" in by_name(table)["control"].text
    assert table.symbols(TABLE.row("black")) == "†‡" and table.symbols(TABLE.row("gray")) == "" == table.symbols(
        TABLE.row("reference_val")
    )


def test_a_row_has_its_own_control():
    rows = tuple(replace(r, control=Control("black", "mahalanobis")) if r.key == "gray" else r for r in TABLE.rows)
    table = build(replace(TABLE, rows=rows), cells())
    assert table.marks == (), "gray is nearer than black"
    rows = tuple(replace(r, control=Control("gray", "mahalanobis")) if r.key == "black" else r for r in TABLE.rows)
    assert set(by_name(build(replace(TABLE, rows=rows), cells()))["control"].rows) == {"black"}


def test_rows_without_scores_are_not_marked():
    assert (
        build(MARKED, [c for c in cells() if c.choices["sampler"] != "reference_val"]).symbols(TABLE.row("black"))
        == "†"
    )


@pytest.mark.parametrize("kind", ["md", "csv", "tex"])
def test_golden_files(kind, tmp_path):
    """Marks at labels and in footnotes, to the letter; POMELO_GOLDEN=1 writes them again."""
    import os

    table_files.write(build(MARKED, cells(), ["scale=smoke"]), tmp_path)
    made, kept = (tmp_path / f"table.{kind}").read_text(), GOLDEN / f"marked.{kind}"
    if os.environ.get("POMELO_GOLDEN"):
        kept.write_text(made)
    assert made == kept.read_text()


def test_terminal_shows_marks_and_footnotes():
    text = shown(build(MARKED, cells()))
    assert "Black-out †‡" in text and "† still moving" in text and "‡ no better than its control Validation" in text


def test_a_quantity_that_a_method_does_not_have_is_no_missing_value():
    """It reads n/a, and no image is said to be left out."""
    shown_column = replace(TABLE, columns=(replace(MOVING, shown=True),))
    table = build(shown_column, cells())
    assert (
        table.entries["reference_val", "moving"].state == "not applicable"
        and table.entries["blur", "moving"].n_nan == 1
    )
    assert not any("Validation" in note and "left out" in note for note in table.notes()) and any(
        "Blur 1 images" in note for note in table.notes()
    )
    assert "n/a" in table_files.markdown(table) and "n/a: the method has no such quantity" in table.notes()


def node(**more):
    rows = [{"key": "a", "label": "A"}, {"key": "r", "label": "R"}]
    return {"id": "t", "title": "", "source": "", "columns": [{"metric": "m", "symbol": "M"}], "rows": rows, **more}


def test_controls_in_yaml():
    rows = [{"key": "a", "label": "A", "control": "b"}, {"key": "b", "label": "B"}, {"key": "r", "label": "R"}]
    table = parse_report(node(control={"row": "r", "metric": "m"}, rows=rows), "p")
    assert table.control == Control("r", "m") and table.row("a").control == Control("b", "m")
    with pytest.raises(ValueError, match="control 'x' is no row; rows are a, r"):
        parse_report(node(control={"row": "x", "metric": "m"}), "p")
    with pytest.raises(ValueError, match="names no metric"):
        parse_report(node(rows=[{"key": "a", "label": "A", "control": "r"}, {"key": "r", "label": "R"}]), "p")


def test_tables_like_another_keep_its_marks():
    base = parse_report(
        node(columns=[{"metric": "m", "symbol": "M"}, {"metric": "x", "symbol": "x", "mark": "> 1", "shown": False}]),
        "p",
    )
    part = parse_report({"id": "u", "title": "", "source": "", "like": "t", "columns": ["m"]}, "p", base)
    assert [c.metric for c in part.columns] == ["m", "x"]


@pytest.mark.parametrize(
    ("mark", "mean", "crossed"),
    [("> 0.02", 0.03, True), ("> 0.02", 0.02, False), ("< -0.5", -0.6, True), ("<0.5", 0.6, False)],
)
def test_limits(mark, mean, crossed):
    assert Column("m", "M", mark=mark).is_beyond(mean) is crossed


@pytest.mark.parametrize("mark", ["0.02", "= 1", ">= 1"])
def test_limits_that_are_none_are_refused(mark):
    with pytest.raises(ValueError, match="mark must be like"):
        Column("m", "M", mark=mark)


def test_a_method_that_does_not_exist_here_keeps_its_printed_numbers():
    rows = (*TABLE.rows, Row("rival", "Rival", {}, "proposed", {"mahalanobis": (1.5, None)}))
    table = build(replace(TABLE, rows=rows), cells())
    assert table.entries["rival", "mahalanobis"].state == "not built" and "1.5" in table_files.markdown(table)
    assert table.states == {"done": 4}, "it matches no job"
