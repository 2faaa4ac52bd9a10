"""Errors of report files name the file, the table, the key and what was expected, in one line."""

import pytest

from pomelo_lab.results.columns import extra_columns
from pomelo_lab.results.report import load_report, load_reports
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
    TABLE + "columns: [{metric: l2, symbol: L2, arrow: dwn}]}": ["column l2: arrow must be", "'dwn'", "mean 'down'"],
    TABLE + "columns: [{metric: l2, symbol: L2, better: highr}]}": ["l2: better must be", "did you mean 'higher'"],
    TABLE + "columns: [{metric: l2, symbol: L2, digits: two}]}": ["l2: digits must be an integer >= 0, got 'two'"],
    TABLE + "columns: [{metric: l2, symbol: 2}]}": ["table mine: column l2: symbol must be a text, got 2"],
    TABLE + "rows: [{key: m, label: M, group: basline}]}": ["row m: group must be", "did you mean 'baseline'"],
    TABLE + "rows: [{key: m, label: M, reach: imge}]}": ["row m: reach must be", "did you mean 'image'"],
    TABLE + "rows: [{key: m, label: M, point: 3}]}": ["row m: point must be a mapping, got 3"],
    TABLE + "spread: sdt}": ["table mine: spread must be one of", "got 'sdt', did you mean 'std'"],
    TABLE + "partial: maybe}": ["table mine: partial must be true or false, got 'maybe'"],
    TABLE + "notes: [3]}": ["table mine: notes[0] must be a text, got 3"],
    TABLE + "across: {seed: 1}}": ["table mine: across.seed must be a list, got 1"],
    TABLE + "figure: 3}": ["table mine: figure must be a text, got 3"],
    TABLE + "columns: [{metric: l2, symbol: L2}], rows: [{key: m, label: M, values: {l22: 1}}]}": [
        "table mine: row m: values: l22 has no column, did you mean 'l2'"
    ],
    TABLE + "columns: [{metric: l2, symbol: L2}], rows: [{key: m, label: M, values: {l2: true}}]}": [
        "table mine: row m: values: l2: expected a number or [mean, std], got True"
    ],
    TABLE
    + "across: {seed: [0, 1]}, columns: [{metric: l2, symbol: L2}], rows: [{key: m, label: M, values: {l2: 1}}]}": [
        "table mine: row m: values: l2 has no column",
        "expected the metric@value",
        "seed: l2@0, l2@1",
    ],
    TABLE + "claims: [{says: a, section: 1, test: 3}]}": ["table mine: claim a: test: expected a text or a list"],
    TABLE + "claims: [{says: a, section: 1, test: 'l2: m <'}]}": ["table mine: claim 'l2: m <': '' is neither a row"],
    TABLE + "claims: [{says: a, section: 1, test: l2 m < n}]}": ["mine: claim 'l2 m < n': expected `metric: row, row"],
    TABLE + "rows: [{key: lime, label: L}], claims: [{says: a, section: 1, test: 'l2: lmie < 1'}]}": [
        "table mine: claim 'l2: lmie < 1': no row 'lmie' in mine, did you mean 'lime'"
    ],
    TABLE + "rows: [{key: lime, label: L}], control: {row: lmie, metric: l2}}": ["is no row, did you mean 'lime'"],
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
