import numpy as np
import pytest

from pomelo_lab.results.claim import FAILS, FEW, HOLDS, MISSING, RESAMPLES, Sample, judge, pairs, resamples
from pomelo_lab.results.published import Claim, Published, Row

TABLE = Published("t", "", "", rows=tuple(Row(k, k, {}, "naive") for k in "abc") + (Row("reference", "r", {}, "reference"),))
ACROSS = Published("t", "", "", rows=tuple(Row(f"{k}@{v}", k, {}, "naive") for k in "ab" for v in (30, 70)), across={"n": (30, 70)})


def values(table):
    def find(row, metric):
        value = table.get(row)
        return None if value is None else value if isinstance(value, Sample) else Sample({f"i{k}": v for k, v in enumerate(value)})

    return find


def verdict(text, table, published=TABLE):
    return judge(Claim("", "", (text,) if isinstance(text, str) else text), published, values(table))


def normal(mean, n=64, seed=0):
    return list(np.random.default_rng(seed).normal(mean, 1, n))


def test_a_clear_difference_holds_and_its_opposite_fails():
    scores = {"a": normal(0), "b": normal(3, seed=1)}
    assert verdict("m: a < b", scores).verdict == HOLDS
    assert verdict("m: a > b", scores).verdict == FAILS
    assert verdict("m: b < a", scores).verdict == FAILS
    assert verdict("m: b > a", scores).verdict == HOLDS


def test_noise_is_too_few_images():
    found = verdict("m: a < b", {"a": normal(0, 30), "b": normal(0.02, 30, seed=1)})
    assert found.verdict == FEW and 0.05 < found.pairs[0].support < 0.95
    assert "n=30" in found.summary and "a < b" in found.summary


def test_pairing_by_image_decides_what_unpaired_spread_would_hide():
    """A small constant shift under a large common spread: paired differences have no spread at all."""
    common = [100 * v for v in normal(0)]
    assert verdict("m: a < b", {"a": common, "b": [v + 0.1 for v in common]}).verdict == HOLDS


def test_pairing_joins_on_image_id_not_on_order():
    scores = {"a": Sample({f"i{k}": float(k) for k in range(20)}), "b": Sample({f"i{k}": k + 0.5 for k in reversed(range(20))})}
    assert verdict("m: a < b", scores).pairs[0].support == 1


def test_fewer_than_ten_images_never_hold_nor_fail():
    assert verdict("m: a < b", {"a": [0.0] * 9, "b": [1.0] * 9}).verdict == FEW
    assert verdict("m: a < b", {"a": [0.0] * 10, "b": [1.0] * 10}).verdict == HOLDS


def test_equality_is_neither_less_nor_more():
    same = normal(0)
    assert verdict("m: a < b", {"a": same, "b": same}).verdict == FAILS
    assert verdict("m: a > b", {"a": same, "b": same}).verdict == FAILS
    assert verdict("m: a ~ b within 0.01", {"a": same, "b": same}).verdict == HOLDS


def test_about_equal_is_relative_to_the_right_hand_side():
    scores = {"a": [109.0] * 20, "b": [100.0] * 20}
    assert verdict("m: a ~ b within 0.1", scores).verdict == HOLDS
    assert verdict("m: a ~ b within 0.08", scores).verdict == FAILS
    assert verdict("m: a ~ 100 within 0.1", scores).verdict == HOLDS


def test_one_opposite_pair_fails_the_claim_and_missing_rows_are_named():
    scores = {"a": normal(0), "b": normal(3, seed=1)}
    found = verdict("m: a < b, c", scores)
    assert found.verdict == MISSING and "without c" in found.summary and "1 hold" in found.summary
    assert verdict("m: b < a, c", scores).verdict == FAILS


def test_nan_is_dropped_pairwise_and_counted():
    a, b = [0.0] * 20, [1.0] * 20
    a[3], b[5] = float("nan"), float("inf")
    found = verdict("m: a < b", {"a": a, "b": b}).pairs[0]
    assert (found.n, found.n_dropped, found.verdict) == (18, 2, HOLDS)
    assert verdict("m: a < b", {"a": [float("nan")] * 20, "b": b}).verdict == MISSING


def test_set_statistics_are_compared_as_points():
    found = verdict("m: a < b", {"a": Sample({}, point=0.1), "b": Sample({}, point=0.2)})
    assert found.verdict == HOLDS and found.point and "(point)" in found.summary
    assert verdict("m: a > b", {"a": Sample({}, point=0.1), "b": Sample({}, point=0.2)}).verdict == FAILS


def test_factors_multiply():
    scores = {"a": [1.0] * 20, "b": [12.0] * 20}
    assert verdict("m: 10 * a < b", scores).verdict == HOLDS
    assert verdict("m: 13 * a < b", scores).verdict == FAILS


def test_grammar():
    assert [str(p) for p in pairs("m: a < b < c", TABLE)] == ["m: a < b", "m: b < c"]
    assert [str(p) for p in pairs("m[x]: a > others", TABLE)] == ["m[x]: a > b", "m[x]: a > c"]
    assert [str(p) for p in pairs("m: a < b", ACROSS)] == ["m: a@30 < b@30", "m: a@70 < b@70"]
    assert [str(p) for p in pairs("m: a@30 < a@70", ACROSS)] == ["m: a@30 < a@70"]
    assert [str(p) for p in pairs("m: a < others", ACROSS)] == ["m: a@30 < b@30", "m: a@70 < b@70"]


@pytest.mark.parametrize("text", ["m a < b", "m: a", "m: a ~ b", "m: a < b within 0.1", "m: a < nobody", "m: a < 2 ** b"])
def test_grammar_errors_quote_the_claim(text):
    with pytest.raises(ValueError, match="claim"):
        pairs(text, TABLE)


def test_resamples_are_fixed_and_weigh_images_to_one():
    first = resamples(17)
    resamples.cache_clear()
    assert first.shape == (RESAMPLES, 17) and (first == resamples(17)).all() and np.allclose(first.sum(1), 1)
