"""Errors of report files name the file, the table, the key and what was expected, in one line."""

import pytest

from pomelo_lab.results.columns import check_metrics, extra_columns
from pomelo_lab.results.report import load_report, load_reports, parse_report
from pomelo_lab.results.show import main
from tests.results.fake import FakeCell

TABLE = "paper: Me\ntables:\n  - {id: mine, title: T, source: S, "
WRONG = {
    "paper: [Me\n": ["line 2", "no valid yaml"],
    "": ["expected the keys paper and tables"],
    "paper: Me\n": ["tables: expected a list of tables"],
    "paper: Me\ntables:\n": ["tables: expected a list of tables"],
    "paper: Me\ntable: [{}]\n": ["tables: expected", "did you mean 'table'"],
    TABLE + "colums: []}": ["table mine: ", "colums is unknown, did you mean 'columns'"],
    TABLE + "columns: [{metric: l2, symbol: L2, arow: down}]}": ["mine: column l2: arow is unknown", "'arrow'"],
    TABLE + "columns: [{metric: l2}]}": ["table mine: column l2: symbol is missing"],
    TABLE + "columns: {metric: l2}}": ["table mine: columns: expected a list"],
    TABLE + "like: pomelo_table1, columns: [l22]}": ["table mine: column 'l22' is unknown, did you mean 'l2'"],
    TABLE + "like: pomelo_tabel1}": ["table mine: like: there is no table", "did you mean 'pomelo_table1'"],
    TABLE + "rows: [{key: m, lable: M}]}": ["table mine: row m: lable is unknown, did you mean 'label'"],
    TABLE + "rows: [{key: m, label: M, values: 3}]}": ["table mine: row m: values: expected a mapping"],
    TABLE + "rows: [{key: m, label: M, values: {l2: high}}]}": ["table mine: row m: values: l2: expected", "'high'"],
    TABLE + "claims: [{says: a, section: 1, tests: b}]}": ["table mine: claim a: tests is unknown", "'test'"],
    TABLE + "control: {row: m, metrik: l2}}": ["table mine: control m: metrik is unknown", "'metric'"],
    "paper: Me\ntables: [{id: pomelo_table1, title: T, source: S}]": [
        "table pomelo_table1: id is taken by",
        "pomelo.yaml",
    ],
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_report_is_one_line_that_names_file_table_and_key(text, tmp_path):
    (tmp_path / "reports").mkdir()
    file = tmp_path / "reports" / "me.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^[^\n]+\Z") as told:
        load_reports((str(tmp_path),))
    assert str(told.value).startswith(f"{file}: ") and [t for t in WRONG[text] if t not in str(told.value)] == []


def test_a_column_of_a_metric_that_nothing_scores_is_refused():
    """A job of the table may have a metric of its own."""
    node = {"id": "t", "title": "", "source": "", "columns": [{"metric": "l22", "symbol": "L2"}]}
    table = parse_report(node, "paper")
    with pytest.raises(ValueError, match="table t: column l22: metric 'l22' is unknown, did you mean 'l2'"):
        check_metrics(table, [])
    check_metrics(table, [FakeCell({}, config={"metrics": {"l22": {}}})])


def test_titles_of_a_user_s_reports_name_columns_and_ours_come_first(tmp_path):
    (tmp_path / "reports").mkdir()
    columns = "columns: [{metric: glow, symbol: Glow}, {metric: l2, symbol: Length}]}"
    (tmp_path / "reports" / "me.yaml").write_text(TABLE + columns)
    cell = FakeCell({}, {"glow": 1.0, "l2": 1.0})
    table = load_report("pomelo_table2")
    ours = next(c.symbol for c in extra_columns(table, [cell]) if c.metric == "l2")
    both = {c.metric: c.symbol for c in extra_columns(table, [cell], (str(tmp_path),))}
    assert both == {"glow": "Glow", "l2": ours}


def test_the_list_of_tables_tells_of_a_broken_report(tmp_path, capsys):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "me.yaml").write_text("")
    assert main(["--config-dir", str(tmp_path)]) == 2
    assert "me.yaml: expected the keys paper and tables" in capsys.readouterr().err
