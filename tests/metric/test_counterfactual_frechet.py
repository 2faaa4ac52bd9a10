import math
from dataclasses import replace

import pytest
import torch

from pomelo_lab.metric.counterfactual_frechet import CounterfactualFrechet
from pomelo_lab.metric.frechet import distance_of_features, distance_of_moments, moments
from tests.metric.counterfactuals import case_of
from tests.tiny import TinyLinear


def rows(n=200, d=6, shift=0.0, scale=1.0, counted=None):
    generator = torch.Generator().manual_seed(0)
    original = torch.randn(n, d, generator=generator)
    made = shift + scale * torch.randn(n, d, generator=generator)
    return {"original": original, "made": made, "counted": torch.ones(n) if counted is None else counted}


def metric(**options):
    return CounterfactualFrechet(oracle=TinyLinear.random(2, (3, 8, 8)), **options)


def test_two_gaussians():
    """|m1 - m2|^2 + sum (s1 - s2)^2 for spherical Gaussians."""
    features = rows(20000, 4, shift=0.5, scale=2.0)
    assert distance_of_features(features["original"], features["made"]) == pytest.approx(4 * 0.25 + 4 * 1.0, rel=0.03)
    assert distance_of_features(features["made"], features["made"]) == pytest.approx(0, abs=1e-6)


def test_torchmetrics_arithmetic():
    from torchmetrics.image.fid import _compute_fid

    features = rows()
    a, b = features["original"].double(), features["made"].double() * 1.5
    expected = _compute_fid(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    assert distance_of_features(a, b) == pytest.approx(float(expected), rel=1e-4)


def test_fewer_images_than_features():
    """The same value by a smaller decomposition."""
    features = rows(12, 40, shift=0.3, scale=2.0)
    one, other = features["original"][:9], features["made"]
    assert distance_of_features(one, other) == pytest.approx(
        distance_of_moments(moments(one), moments(other)), rel=1e-5
    )
    assert distance_of_features(other, other) == pytest.approx(0, abs=1e-9)


def test_successes_equal_numbers_and_splits(caplog):
    counted = (torch.arange(200) % 2 == 0).float()
    some = rows(counted=counted)
    assert metric().summarize(some, {}).mean == pytest.approx(distance_of_features(some["original"], some["made"][::2]))
    plus = metric(n_equal=50).summarize(some, {})
    assert plus.n == 50 and len(plus.repeats) == 20 and plus.std > 0  # random subsets, not the first
    assert plus.mean != pytest.approx(distance_of_features(some["original"], some["made"][::2][:50]), rel=1e-6)
    whole = metric(n_equal=100).summarize(some, {})  # the method that has just as many: no spread, the paper's Direct
    assert whole.mean == pytest.approx(metric().summarize(some, {}).mean) and whole.std == pytest.approx(0, abs=1e-6)
    assert math.isnan(metric(n_equal=101).summarize(some, {}).mean)
    halves = metric(n_splits=4).summarize(some, {})
    assert halves.std > 0 and halves.mean > metric().summarize(some, {}).mean
    assert "rank-deficient" not in caplog.text
    few = rows(5)
    assert metric().summarize(few, {}).details["rank_deficient"] == 1 and "rank-deficient" in caplog.text
    assert math.isnan(metric().summarize(rows(counted=torch.zeros(200)), {}).mean)


def test_features_of_image_and_counterfactual():
    case = case_of()
    scores = metric().score(case)
    torch.testing.assert_close(scores["original"], case.batch.image.flatten(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(scores["made"], case.explanation.counterfactual.flatten(1), atol=1e-6, rtol=0)


def test_as_many_as_the_method_with_the_fewest_successes():
    """Four methods reach 200, 40, 60 and 200 images: 40 of every one; noise alone counts all of its images, 40 of them
    too."""
    reached = torch.stack([(torch.arange(200) < n).float() for n in (200, 40, 60, 200)], 1)
    least = metric(n_equal="least")
    assert least.needs >= {"explanations"} and "explanations" not in metric().needs
    assert [change["explainer.variant"] for change in least.overrides()] == [
        "dime",
        "direct",
        "naive",
        "early_stop",
    ] and metric().overrides() == []
    means = []
    for counted in (torch.ones(200), reached[:, 2]):
        made = least.summarize({**rows(counted=counted), "reached": reached}, {})
        assert made.n == 40 and not math.isnan(made.mean)
        means.append(made.mean)
    fewest = least.summarize({**rows(counted=reached[:, 1]), "reached": reached}, {})
    assert fewest.std == pytest.approx(0, abs=1e-6)
    case = replace(case_of(), explanations=(case_of(flipped=torch.tensor([1.0, 1, 1, 0])).explanation,) * 2)
    assert least.score(case)["reached"].tolist() == [[1, 1], [1, 1], [1, 1], [0, 0]]


@pytest.mark.parametrize("options", [{}, {"n_equal": 50}, {"n_splits": 2}])
def test_counterfactuals_that_are_not_finite_are_counted_and_no_number_hides_them(options):
    features = rows()
    features["made"][3, 0] = torch.nan
    summary = metric(**options).summarize(features, {})
    assert summary.n_nan == 1 and math.isfinite(summary.mean)
    assert math.isnan(distance_of_features(features["original"], features["made"])) and math.isnan(
        distance_of_features(features["original"][:3], features["made"][2:5])
    )
