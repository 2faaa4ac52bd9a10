import numpy as np
import pytest
import torch

from pomelo_lab.results.claim import FAILS, FEW, HOLDS, MISSING, RESAMPLES, Resampled, Sample, judge, resamples
from pomelo_lab.results.report import Claim, Report, Row

TABLE = Report(
    "t", "", "", rows=tuple(Row(k, k, None, "baseline") for k in "abc") + (Row("reference", "r", None, "reference"),)
)
ACROSS = Report(
    "t",
    "",
    "",
    rows=tuple(Row(f"{k}@{v}", k, None, "baseline") for k in "ab" for v in (30, 70)),
    across={"n": (30, 70)},
)


def values(table):
    def find(row, metric):
        value = table.get(row)
        return (
            None
            if value is None
            else value
            if isinstance(value, Sample)
            else Sample({f"i{k}": v for k, v in enumerate(value)})
        )

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
    outcome = verdict("m: a < b", {"a": normal(0, 30), "b": normal(0.02, 30, seed=1)})
    assert outcome.verdict == FEW and 0.05 < outcome.pairs[0].support < 0.95
    assert "n=30" in outcome.summary and "a < b" in outcome.summary


def test_pairing_by_image_decides_what_unpaired_spread_would_hide():
    """A small constant shift under a large common spread: paired differences have no spread at all."""
    common = [100 * v for v in normal(0)]
    assert verdict("m: a < b", {"a": common, "b": [v + 0.1 for v in common]}).verdict == HOLDS


def test_pairing_joins_on_image_id_not_on_order():
    scores = {
        "a": Sample({f"i{k}": float(k) for k in range(20)}),
        "b": Sample({f"i{k}": k + 0.5 for k in reversed(range(20))}),
    }
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
    outcome = verdict("m: a < b, c", scores)
    assert outcome.verdict == MISSING and "without c" in outcome.summary and "1 hold" in outcome.summary
    assert verdict("m: b < a, c", scores).verdict == FAILS


def test_nan_is_dropped_pairwise_and_counted():
    a, b = [0.0] * 20, [1.0] * 20
    a[3], b[5] = float("nan"), float("inf")
    pair = verdict("m: a < b", {"a": a, "b": b}).pairs[0]
    assert (pair.n, pair.n_dropped, pair.verdict) == (18, 2, HOLDS)
    assert verdict("m: a < b", {"a": [float("nan")] * 20, "b": b}).verdict == MISSING


def test_set_statistics_are_compared_as_points():
    outcome = verdict("m: a < b", {"a": Sample({}, point=0.1), "b": Sample({}, point=0.2)})
    assert outcome.verdict == HOLDS and outcome.point and "(point)" in outcome.summary
    assert outcome.word == "holds (point)", "one number never reads like a tested claim"
    assert verdict("m: a > b", {"a": Sample({}, point=0.1), "b": Sample({}, point=0.2)}).verdict == FAILS


def test_factors_multiply():
    scores = {"a": [1.0] * 20, "b": [12.0] * 20}
    assert verdict("m: 10 * a < b", scores).verdict == HOLDS
    assert verdict("m: 13 * a < b", scores).verdict == FAILS


def test_resamples_are_fixed_and_weigh_images_to_one():
    first = resamples(17)
    resamples.cache_clear()
    assert first.shape == (RESAMPLES, 17) and (first == resamples(17)).all() and np.allclose(first.sum(1), 1)


def repeats(*numbers):
    return Sample({}, point=sum(numbers) / len(numbers), repeats=numbers)


def test_repeats_of_a_set_statistic_are_resampled():
    near, far = repeats(0.10, 0.12, 0.11, 0.13, 0.09), repeats(0.30, 0.28, 0.31, 0.29, 0.33)
    outcome = verdict("m: a < b", {"a": near, "b": far})
    assert (outcome.word, outcome.pairs[0].n) == ("holds (repeats)", 5) and "resamples of 5 repeats" in outcome.summary
    assert verdict("m: a > b", {"a": near, "b": far}).word == "fails (repeats)"
    assert verdict("m: a < b", {"a": near, "b": repeats(0.05, 0.3, 0.02, 0.25, 0.01)}).verdict == FEW, (
        "seeds that disagree decide nothing"
    )
    assert verdict("m: a < b", {"a": repeats(0.1, 0.2), "b": far}).word == "holds (point)", "two repeats are no sample"


def test_a_claim_is_as_strong_as_its_weakest_pair_and_fails_by_its_strongest():
    low, high = normal(0), normal(3, seed=1)
    points = {"a": Sample({}, point=0.1), "b": Sample({}, point=0.2)}

    def find(row, metric):
        return (values({"a": low, "b": high}) if metric == "m" else values(points))(row, metric)

    def word(*tests):
        return judge(Claim("", "", tests), TABLE, find).word

    assert word("m: a < b") == "holds" and word("m: a < b", "p: a < b") == "holds (point)"
    assert word("m: a > b", "p: a > b") == "fails" and word("m: a < b", "p: a > b") == "fails (point)"


def thresholded(candidates, n_held=20):
    """A sample as a metric with a threshold that held-out images choose stores it."""
    from pomelo_lab.metric.localization import Localization

    metric = Localization(n_alphas=candidates.shape[1], held_out=n_held / len(candidates))
    rows = {"candidates": torch.from_numpy(candidates)}
    images = tuple(f"i{k}" for k in range(len(candidates)))
    value = dict(zip(images, metric.values(rows).tolist(), strict=False))
    resampled = Resampled(
        images,
        metric.usable(rows).numpy(),
        metric.groups(len(images)),
        lambda weights: metric.resampled(rows, {}, torch.from_numpy(weights)).numpy(),
    )
    return Sample(value, resampled=resampled)


def test_a_threshold_that_few_images_chose_is_resampled():
    """Two thresholds that the held-out images can hardly tell apart, of which one is far worse on the others: no
    resample of the scored images alone sees that the choice was luck."""
    rng = np.random.default_rng(0)
    steady = np.full((60, 2), 0.5) + rng.normal(0, 0.01, (60, 2))
    lucky = np.concatenate([np.tile([0.3, 0.9], (40, 1)), 0.5 + rng.normal(0, 0.2, (20, 2))])
    lucky[40:] += [0.0, lucky[40:, 0].mean() - lucky[40:, 1].mean() + 0.001]  # the first is chosen, by a thousandth
    scores = {"a": thresholded(lucky), "b": thresholded(steady)}
    outcome = verdict("m: a < b", scores)
    assert (
        outcome.verdict == FEW
        and outcome.pairs[0].n_held == 20
        and "chosen again on 20 held-out images" in outcome.summary
    )
    plain = {key: Sample(s.value) for key, s in scores.items()}
    assert verdict("m: a < b", plain).verdict == HOLDS


def test_resampled_thresholds_are_the_loop_over_resamples():
    from pomelo_lab.metric.localization import Localization

    rng = np.random.default_rng(1)
    candidates = rng.random((30, 5))
    candidates[3] = np.nan
    metric, rows = Localization(n_alphas=5, held_out=1 / 3), {"candidates": torch.from_numpy(candidates)}
    usable = metric.usable(rows).numpy()
    assert usable.sum() == 29 and metric.groups(30) == (20, 10)
    weights = np.zeros((7, 30))
    for r in range(7):
        weights[r, :20] = np.bincount(rng.choice(np.flatnonzero(usable[:20]), 19), minlength=20) / 19
        weights[r, 20:] = np.bincount(rng.choice(10, 10), minlength=10) / 10
    expected = []
    for w in weights:
        alpha = np.argmin([sum(w[20 + k] * candidates[20 + k, a] for k in range(10)) for a in range(5)])
        expected.append(sum(w[k] * candidates[k, alpha] for k in range(20) if usable[k]))
    assert np.allclose(metric.resampled(rows, {}, torch.from_numpy(weights)).numpy(), expected)


def test_without_a_choice_resampled_thresholds_are_the_plain_bootstrap():
    """One candidate: nothing to choose, and the verdict's support is that of the values."""
    rng = np.random.default_rng(2)
    scores = {k: rng.normal(m, 1, (60, 1)) for k, m in (("a", 0.0), ("b", 0.2))}
    chosen = verdict("m: a < b", {k: thresholded(v) for k, v in scores.items()}).pairs[0]
    plain = verdict("m: a < b", {k: list(v[:40, 0]) for k, v in scores.items()}).pairs[0]
    assert (
        chosen.support == plain.support and (chosen.n, plain.n) == (40, 40) and chosen.left == pytest.approx(plain.left)
    )
