"""Names in a report that do not exist are refused before the first job, with the nearest right name."""

import pytest

from pomelo_lab.results.report import load_reports, parse_report
from pomelo_lab.results.report_names import check_names
from tests.results.fake import FakeCell

L2 = {"metric": "l2", "symbol": "L2"}
ROW = {"key": "mine", "label": "Mine", "values": {"l2": 1}}
WRONG = {
    "column l22: metric 'l22' is unknown, did you mean 'l2'": {"columns": [{"metric": "l22", "symbol": "L2"}]},
    "claim 'l22: mine < 1': metric 'l22' is unknown, did you mean 'l2'": {
        "rows": [ROW],
        "columns": [L2],
        "claims": [{"says": "", "section": 1, "test": "l22: mine < 1"}],
    },
    "control: metric 'l22' is unknown, did you mean 'l2'": {
        "rows": [ROW],
        "columns": [L2],
        "control": {"row": "mine", "metric": "l22"},
    },
    "row limee: method 'limee' is unknown, did you mean 'lime'": {"rows": [{"key": "limee", "label": "LIME"}]},
    "row mine: point: no job of the row has the key explainer.alhpa, did you mean 'explainer.alpha'": {
        "rows": [{**ROW, "method": "mine", "point": {"explainer.alhpa": 1}}],
        "columns": [L2],
    },
    "figure: no figure projektion, did you mean 'projection'": {"figure": "projektion"},
    "figure_options: collumns is unknown, did you mean 'columns'?; projection has columns": {
        "figure": "projection",
        "figure_options": {"collumns": 2},
    },
    "figure_options: columns need a figure": {"figure_options": {"columns": 2}},
}


def table(**node):
    return parse_report({"id": "t", "title": "", "source": "", **node}, "paper")


@pytest.mark.parametrize("expected", WRONG)
def test_a_name_that_does_not_exist_is_one_line_that_names_the_key_and_the_nearest_name(expected):
    cell = FakeCell({"method": "mine"}, config={"explainer": {"alpha": 1}})
    with pytest.raises(ValueError, match=r"^[^\n]+\Z") as told:
        check_names(table(**WRONG[expected]), [cell])
    assert str(told.value).startswith(f": table t: {expected}")


def test_a_job_may_have_a_metric_and_a_method_of_its_own():
    known = table(columns=[{"metric": "glow", "symbol": "G"}], rows=[{"key": "mine", "label": "", "method": "new"}])
    cell = FakeCell({"method": "new"}, config={"metrics": {"glow": {}}})
    check_names(known, [cell])


def test_a_part_of_a_grid_is_not_refused():
    row = {"key": "strict", "label": "", "method": "iba", "point": {"explainer.beta": 10}}
    check_names(table(rows=[row]), [FakeCell({"method": "lime"}, config={"explainer": {"alpha": 1}})])


def test_all_names_of_our_reports_exist():
    for report in load_reports().values():
        check_names(report, [])
