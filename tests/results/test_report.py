"""The published tables are consistent with the configs and with themselves."""

from pathlib import Path

import pytest
import yaml

from pomelo_lab.config.entry import CONF, search_path, searched_folders
from pomelo_lab.config.suites import find_targets
from pomelo_lab.results.claim import FAILS, HOLDS, Sample, judge, pairs
from pomelo_lab.results.columns import direction
from pomelo_lab.results.evidence import COSTS
from pomelo_lab.results.marks import control_of
from pomelo_lab.results.method import is_built
from pomelo_lab.results.printed import printed_verdict
from pomelo_lab.results.report import Column, Control, load_report, load_reports, parse_report
from tests.conf.test_presets import grid

TABLES = list(load_reports().values())
PRESETS = {p.stem: yaml.safe_load(p.read_text()) for p in Path(CONF, "experiment").glob("*.yaml")}


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.id)
def test_every_table_has_its_preset_and_every_metric_a_suite(table):
    assert PRESETS[table.id]["paper_table"] == table.id
    known = set(find_targets()) | set(COSTS) | set(PRESETS[table.id].get("metrics") or ())
    for column in table.columns:
        assert column.metric.partition("[")[0] in known, column.metric
    for row in table.rows:
        known_values = set(row.values) <= {c.metric for c in load_reports()[table.id].columns} or table.partial
        assert known_values, row.key


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.id)
def test_claims_parse(table):
    assert "others" not in {row.key.partition("@")[0] for row in table.rows}, "a word of the claims' grammar"
    for claim in table.claims:
        assert claim.says and claim.section and all(pairs(text, table) for text in claim.test)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.id)
def test_every_row_is_in_the_grid_of_its_preset_or_of_the_paper_alone(table):
    params = {k: str(v).split(",") for k, v in PRESETS[table.id]["hydra"]["sweeper"]["params"].items()}
    made = {*params.get("method", ()), *params.get("sampler", ())}
    for row in table.rows:
        limit = row.method == "ideal_mask"  # tables that leave it out share their rows with others
        assert not row.method or not made or row.method in made or not is_built(row) or limit, (table.id, row.key)
        assert all(str(value) in params[key] for key, value in row.point.items() if key in params)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.id)
def test_controls_are_judged_by_a_metric_that_says_what_is_better(table):
    """Without a direction no row could fail to beat its control, and the mark would be silent."""
    controls = {c for c in (table.control, *(r.control for r in table.rows)) if c is not None}
    for control in controls:
        assert direction(table.column(control.metric) or Column(control.metric, ""), []) in ("higher", "lower"), control
    for column in table.columns:
        assert not column.mark or column.mark_note, f"{column.metric}: a mark needs a note for people"


def test_there_are_claims_enough_and_the_known_contradiction_is_seen():
    assert sum(len(t.claims) for t in TABLES) >= 15
    table = load_report("pomelo_table2")
    own = {c.says: printed_verdict(c, table) for c in table.claims}
    assert own["and their recall"] == "disagrees"  # Table 2: flow 0.533 < black-out 0.537
    assert own["black-out is the least stable"] == "agrees"


def test_table_1_claims_agree_with_the_printed_table():
    table = load_report("pomelo_table1")
    assert {c.says: printed_verdict(c, table) for c in table.claims if printed_verdict(c, table) == "disagrees"} == {}


def test_a_report_of_a_user_s_folder_is_one_of_the_tables(tmp_path):
    """Rows and columns of our tables are known to it."""
    (tmp_path / "reports").mkdir()
    text = "{id: mine, title: Mine, source: Table 1, like: pomelo_table1, columns: [l2], rows: [black, gray]}"
    (tmp_path / "reports" / "me.yaml").write_text(f"paper: Me\ntables:\n  - {text}\n")
    folders = searched_folders([*search_path([str(tmp_path)]), "scale=smoke"])
    mine = load_report("mine", folders)
    assert (mine.source, [c.metric for c in mine.columns], mine.partial) == ("Me, Table 1", ["l2"], True)
    assert "mine" not in load_reports() and "pomelo_table1" in load_reports(folders)


def test_unknown_table_names_the_known():
    with pytest.raises(KeyError, match="did you mean 'pomelo_table1'"):
        load_report("pomelo_tabel1")


def test_a_table_like_one_that_runs_across_a_key_runs_across_it_once():
    """Its rows are those rows, and its claims are judged at the same values."""
    node = {
        "id": "t",
        "title": "",
        "source": "",
        "across": {"a.b": ["x", "y"]},
        "rows": [{"key": "m", "label": "M", "method": "m"}],
    }
    base = parse_report({**node, "columns": [{"metric": "l1", "symbol": "L1"}]}, "paper")
    for again in ({}, {"across": {"a.b": ["x", "y"]}}):
        like = parse_report({"id": "u", "title": "", "source": "", "like": "t", **again}, "paper", base)
        assert [r.key for r in like.rows] == ["m@x", "m@y"] and [str(p) for p in pairs("l1: m > 1", like)] == [
            "l1: m@x > 1",
            "l1: m@y > 1",
        ]
    with pytest.raises(ValueError, match="rows of t run across"):
        parse_report({"id": "u", "title": "", "source": "", "like": "t", "across": {"a.b": ["z"]}}, "paper", base)


def test_numbers_of_a_table_that_runs_across_a_key():
    node = {
        "id": "t",
        "title": "",
        "source": "",
        "across": {"a.b": ["x", "y"]},
        "columns": [{"metric": "l1", "symbol": "L1"}, {"metric": "l2", "symbol": "L2"}],
        "rows": [{"key": "m", "label": "M", "values": {"l1@x": 1.0, "l1@y": [2.0, 0.5], "l2@y": 3}}],
    }
    first, second = parse_report(node, "paper").rows
    assert (first.key, first.values) == ("m@x", {"l1": (1.0, None)})
    assert (second.key, second.values) == ("m@y", {"l1": (2.0, 0.5), "l2": (3.0, None)})


def test_a_table_like_another_inherits_its_control():
    """Where the control is among its rows, also where the other table runs across a key and its rows are split."""
    rows = [{"key": "m", "label": "M", "group": "proposed"}, {"key": "r", "label": "R", "group": "control"}]
    columns, control = [{"metric": "l1", "symbol": "L1"}], {"row": "r", "metric": "l1"}
    node = {"id": "t", "title": "", "source": "", "rows": rows, "columns": columns, "control": control}
    like = {"id": "u", "title": "", "source": "", "like": "t"}
    base, across = parse_report(node, "paper"), parse_report({**node, "across": {"a.b": ["x", "y"]}}, "paper")
    for table in (
        parse_report(like, "paper", base),
        parse_report({**like, "rows": ["r", "m"]}, "paper", base),
        parse_report(like, "paper", across),
    ):
        assert table.control == base.control
    split = parse_report(like, "paper", across)
    assert control_of(split, split.row("m@y")) == Control("r@y", "l1") and control_of(split, split.row("r@y")) is None
    assert parse_report({**like, "rows": ["m"]}, "paper", base).control is None


NO_CONTROL = {
    "fisher_fig1": "random maps do not see the network and keep a similarity of 1: whatever sees it is below them"
}
OF_THREE = [t for t in TABLES if t.id.startswith(("pomelo", "agarwal", "fisher"))]


@pytest.mark.parametrize("table", OF_THREE, ids=lambda t: t.id)
def test_a_table_with_a_control_row_says_what_has_to_beat_it(table):
    """In a quantity that the table shows: a control in another one is never judged."""
    has_row = any(row.group == "control" for row in table.rows)
    assert (table.control is not None) == (has_row and table.id not in NO_CONTROL)
    assert table.control is None or table.column(table.control.metric), table.control


@pytest.mark.parametrize("table", [t for t in OF_THREE if t.column("moving")], ids=lambda t: t.id)
def test_a_table_with_gradient_methods_marks_maps_that_do_not_sum_to_what_they_divide(table):
    promises = [row.key for row in table.rows if row.method in ("integrated_gradients", "deep_lift")]
    column = table.column("completeness")
    assert not promises or (column and column.is_beyond(0.03) and not column.is_beyond(0.01) and column.mark_note)
    cell = grid(table.id)[0]  # the metrics are the same at every point
    for marked in (c for c in table.columns if c.mark):
        assert cell.config["metrics"].get(marked.metric) is not None, (
            f"{marked.metric} is not scored: its mark cannot show"
        )


@pytest.mark.parametrize("name", ["agarwal_paper", "agarwal_paper_places"])
def test_agarwal_s_experiments_mark_what_the_tables_of_portraits_mark(name):
    ours, theirs = ({c.metric: c.mark for c in load_report(key).columns if c.mark} for key in (name, "agarwal_table4"))
    assert ours == theirs and load_report(name).column("left")


@pytest.mark.parametrize("name", ["agarwal_tableS1", "agarwal_tableS2", "agarwal_fig6"])
@pytest.mark.parametrize("similarity, verdict", [(0.5, HOLDS), (0.99, FAILS)])
def test_agarwal_s_maps_that_are_nearly_the_same_are_called_the_same(name, similarity, verdict):
    """Similarities of pairs that differ at all are below 1: a claim against 1 could not fail."""
    table = load_report(name)
    (claim,) = (c for c in table.claims if c.says.startswith("no method gives the same map"))
    values = Sample({str(k): similarity + 1e-3 * (k % 5) for k in range(20)})
    assert judge(claim, table, lambda row, metric: values).verdict == verdict


@pytest.mark.parametrize("name", ["fisher_fig1", "fisher_paper_sanity"])
def test_fisher_s_sanity_claims_are_not_against_random_maps(name):
    """Whose similarity is 1 under every network, so that no method could fail."""
    assert not any("random" in text for claim in load_report(name).claims for text in claim.test)


def test_groups_of_columns_are_words():
    """They stand above the columns of a terminal table, where nothing explains an abbreviation."""
    groups = {column.group for table in load_reports().values() for column in table.columns} - {""}
    assert {"alignment", "diversity", "locality", "reasonability", "stability", "fidelity"} <= groups
    assert not [group for group in groups if len(group) < 4 or group != group.lower()]


def test_only_these_columns_can_be_said_and_is_usual_for_a_part_of_another_table():
    node = {"id": "t", "title": "", "source": "", "columns": [{"metric": "l1", "symbol": "L1"}]}
    base, like = parse_report(node, "paper"), {"id": "u", "title": "", "source": "", "like": "t"}
    assert not base.partial and parse_report({**node, "partial": True}, "paper").partial
    assert (
        parse_report(like, "paper", base).partial
        and not parse_report({**like, "partial": False}, "paper", base).partial
    )
