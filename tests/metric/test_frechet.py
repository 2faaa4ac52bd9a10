import math

import numpy as np
import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.frechet import FrechetDistance, distance_of_moments, moments
from pomelo_lab.types import Perturbations
from tests.tiny import TinyDataset, TinyLinear, tiny_batch, tiny_image


def gaussian(n, mean, factor, seed):
    return (
        mean + torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) @ factor.T
    )


def test_closed_form_of_two_gaussians():
    a, b = torch.tensor([4.0, 1.0]).double().diag(), torch.tensor([1.0, 9.0]).double().diag()
    distance = distance_of_moments(
        {"mean": torch.zeros(2).double(), "covariance": a}, {"mean": torch.tensor([3.0, 4.0]).double(), "covariance": b}
    )
    assert distance == pytest.approx(25 + (2 - 1) ** 2 + (1 - 3) ** 2, rel=1e-12)


def test_against_torchmetrics():
    pytest.importorskip("torchmetrics")
    from pomelo_lab.compat import ensure

    ensure()
    from torchmetrics.image.fid import _compute_fid

    mix = torch.tensor([[1.0, 0.4, 0.0], [0.0, 0.7, 0.2], [0.0, 0.0, 1.3]]).double()
    a, b = (
        moments(gaussian(400, torch.zeros(3).double(), mix, 0)),
        moments(gaussian(300, torch.ones(3).double(), mix.T, 1)),
    )
    assert distance_of_moments(a, b) == pytest.approx(
        float(_compute_fid(a["mean"], a["covariance"], b["mean"], b["covariance"])), rel=1e-6
    )
    assert np.allclose(a["covariance"], np.cov(gaussian(400, torch.zeros(3).double(), mix, 0).numpy().T))


def test_a_set_is_at_distance_0_of_itself_and_farther_of_a_shifted_one():
    points = moments(gaussian(200, torch.zeros(3).double(), torch.eye(3).double(), 2))
    assert distance_of_moments(points, points) == pytest.approx(0, abs=1e-9)
    assert distance_of_moments(points, {**points, "mean": points["mean"] + 2}) == pytest.approx(12, rel=1e-9)


def test_pixels_of_perturbations_as_features():
    """TinyLinear's features are the pixels; perturbation 0 is left out."""
    oracle, batch = TinyLinear.random(3, (1, 2, 2)), tiny_batch(12, (1, 2, 2))
    image = torch.randint(0, 256, (12, 4, 1, 2, 2), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    metric = FrechetDistance(oracle=oracle, n_reference=50, n_per_image=3)
    reference = metric.fit(
        TinyDataset(image=tiny_image(60, (1, 2, 2)), label=torch.arange(60) % 3),
        view(oracle, "black_box", 8),
        RandomStreams(0),
    )
    rows = metric.score(Case(batch=batch, perturbations=Perturbations(image=image)))
    expected = Perturbations.dequantize(image[:, 1:]).flatten(2)
    assert torch.allclose(rows["feature"].float(), expected)
    summary = metric.summarize(rows, reference)
    assert summary.n == 12 and summary.mean == pytest.approx(
        distance_of_moments(moments(expected.flatten(0, 1)), reference)
    )


def test_what_is_not_finite_is_undefined_and_counted_and_never_0():
    good = gaussian(50, torch.zeros(3).double(), torch.eye(3).double(), 3)
    bad = good.clone()
    bad[0, 0] = torch.nan
    for features in (bad, good[:1], good[:0]):
        assert math.isnan(distance_of_moments(moments(features), moments(good)))
    metric = FrechetDistance(oracle=TinyLinear.random(3, (1, 2, 2)))
    summary = metric.summarize({"feature": bad[:, None]}, moments(good))
    assert (summary.n, summary.n_nan) == (49, 1) and summary.mean == pytest.approx(
        distance_of_moments(moments(good[1:]), moments(good))
    )
    one = metric.summarize({"feature": good[:1, None]}, moments(good))
    assert one.n == 1 and math.isnan(one.mean)
