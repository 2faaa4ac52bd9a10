from dataclasses import replace

import numpy as np
import pytest

from pomelo_lab.results.claim import FAILS, HOLDS, agreement
from pomelo_lab.results.grammar import Pair, pairs, parse_value
from pomelo_lab.results.report import Report, Row
from tests.results.test_claim import ACROSS, TABLE, normal, verdict


def shown(text, table=TABLE):
    return [str(p) for p in pairs(text, table)]


def test_orders_others_and_points():
    assert shown("m: a < b < c") == ["m: a < b", "m: b < c"]
    assert shown("m[x]: a > others") == ["m[x]: a > b", "m[x]: a > c"]
    assert shown("m: a < b", ACROSS) == ["m: a@30 < b@30", "m: a@70 < b@70"]
    assert shown("m: a@30 < a@70", ACROSS) == ["m: a@30 < a@70"]
    assert shown("m: a < others", ACROSS) == ["m: a@30 < b@30", "m: a@70 < b@70"]


def test_a_metric_may_hold_a_colon():
    """A place of a stored tensor."""
    assert shown("m[above:-1]: a < 0") == ["m[above:-1]: a < 0"]


def test_sums_differences_and_numbers():
    assert shown("m: a - b > 3 * c - 0.5") == ["m: a - b > 3 * c - 0.5"]
    assert shown("m: a-b > -0.5") == ["m: a - b > -0.5"]
    assert shown("m: others - a < 2 * a") == ["m: b - a < 2 * a", "m: c - a < 2 * a"]
    assert shown("m: a@70 - b@70 > a@30 - b@30", ACROSS) == ["m: a@70 - b@70 > a@30 - b@30"]
    assert shown("m: a - b > 0", ACROSS) == ["m: a@30 - b@30 > 0", "m: a@70 - b@70 > 0"]
    value = parse_value("2 * a - b + 1e-3", "t")
    assert value.of({"a": 5.0, "b": 4.0}.__getitem__) == pytest.approx(6.001) and value.rows == ("a", "b")


def test_parts_of_metrics_may_name_a_place():
    assert shown("m[above:0]: a < 0") == ["m[above:0]: a < 0"] and shown("m[x]:a<b") == ["m[x]: a < b"]


def test_every_combination_of_two_keys_is_a_point():
    rows = tuple(Row(f"{k}@{v}@{w}", k, k, "baseline") for k in "ab" for v in (1, 10) for w in (30, 70))
    table = Report("t", "", "", rows=rows, across={"x": (1, 10), "n": (30, 70)})
    assert shown("m: a < b", table) == [f"m: a@{v}@{w} < b@{v}@{w}" for v in (1, 10) for w in (30, 70)]
    assert shown("m: a@1@30 < others", table)[:1] == ["m: a@1@30 < b@1@30"]


def test_one_sided_tolerance():
    """Being better never counts against a claim that something is not worse."""
    assert shown("m: a >~ b within 0.05") == ["m: a >~ b within 5 %"]
    scores = {"a": [109.0] * 20, "b": [100.0] * 20}
    assert verdict("m: a ~ b within 0.05", scores).verdict == FAILS
    assert verdict("m: a >~ b within 0.05", scores).verdict == HOLDS
    assert verdict("m: a <~ b within 0.05", scores).verdict == FAILS
    assert verdict("m: a <~ b within 0.1", scores).verdict == HOLDS
    assert verdict("m: b >~ a within 0.05", scores).verdict == FAILS


@pytest.mark.parametrize("op", ["<~", ">~"])
def test_tolerance_is_a_share_of_the_magnitude(op):
    """Moved towards the worse side, also where the number is negative."""
    pair = Pair("m", parse_value("a", ""), op, parse_value("b", ""), 0.1)
    right = np.array([-10.0, 10.0])
    worse = right + (0.9 if op == "<~" else -0.9)
    assert (
        agreement(worse, right, pair).all() and not agreement(worse + (0.2 if op == "<~" else -0.2), right, pair).any()
    )


def test_differences_are_paired_by_image():
    """A gap that grows by a constant on every image, under a spread that is common to all four."""
    common = [100 * v for v in normal(0)]
    scores = {"a": [v + 1.2 for v in common], "b": common, "c": [v + 1.0 for v in common], "reference": common}
    assert verdict("m: a - b > c - reference", scores).verdict == HOLDS
    assert verdict("m: a - b > 1.1 * c - 1.1 * reference", scores).verdict == HOLDS
    assert verdict("m: a - b > 1.3 * c - 1.3 * reference", scores).verdict == FAILS


WRONG = (
    "m a < b",
    "m: a",
    "m: a ~ b",
    "m: a >~ b",
    "m: a < b within 0.1",
    "m: a < nobody",
    "m: a < 2 ** b",
    "m: a b < c",
    "m: 1 < 2",
)


@pytest.mark.parametrize("text", WRONG)
def test_errors_quote_the_claim(text):
    with pytest.raises(ValueError, match="claim"):
        pairs(text, TABLE)


def test_values_with_blanks_stand_in_quotes():
    """Diseases: without quotes the name of a row ended at the first blank."""
    table = replace(
        TABLE,
        across={"dataset.label": ("Lung Opacity", "Atelectasis")},
        rows=tuple(Row(f"{key}@{value}", key) for key in "ab" for value in ("Lung Opacity", "Atelectasis")),
    )
    assert shown('m: a@"Lung Opacity", a@Atelectasis > 0.9', table) == [
        "m: a@Lung Opacity > 0.9",
        "m: a@Atelectasis > 0.9",
    ]
    assert shown('m: 2 * a@"Lung Opacity" - b@Atelectasis < b@"Lung Opacity"', table) == [
        "m: 2 * a@Lung Opacity - b@Atelectasis < b@Lung Opacity"
    ]
    assert shown("m: a > b", table) == ["m: a@Lung Opacity > b@Lung Opacity", "m: a@Atelectasis > b@Atelectasis"]
    with pytest.raises(ValueError, match="neither a row"):
        shown("m: a@Lung Opacity > 0.9", table)
