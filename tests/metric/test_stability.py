import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import mean_summary
from pomelo_lab.metric.stability import Stability
from pomelo_lab.types import Explanation
from tests.tiny import batch_of


def case_of(coefficient):
    """coefficient [m,B,S]"""
    n = coefficient.shape[1]
    target = torch.zeros(n, dtype=torch.long)
    explanations = tuple(Explanation(target=target, extra={"coefficient": one}) for one in coefficient)
    return Case(batch=batch_of(torch.zeros(n, 1, 2, 2)), explanations=explanations)


def test_the_random_row_of_the_paper():
    coefficient = torch.rand(5, 4000, 70, generator=torch.Generator().manual_seed(0))
    assert Stability().score(case_of(coefficient))["value"].mean().item() == pytest.approx(2.155, abs=0.02)


def test_the_number_of_repeats_does_not_matter():
    """Eq. 2 of 2, 3 or 20 explanations in the unit of five; as they stand, 2 score 0.79 times what 5 score."""
    coefficient = torch.rand(20, 4000, 70, generator=torch.Generator().manual_seed(1))
    score = {m: Stability(n_repeats=m).score(case_of(coefficient[:m]))["value"].mean().item() for m in (2, 3, 5, 20)}
    assert all(value == pytest.approx(2.155, abs=0.02) for value in score.values())
    plain = {
        m: Stability(n_repeats=m, as_repeats=None).score(case_of(coefficient[:m]))["value"].mean().item()
        for m in (2, 5)
    }
    assert plain[5] == pytest.approx(score[5], rel=1e-12) and plain[2] / plain[5] == pytest.approx(
        (1 / 2 / (4 / 5)) ** 0.5, rel=0.01
    )


def test_equal_repeats_score_0_and_scale_cancels_when_relative():
    coefficient = torch.rand(5, 3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert Stability().score(case_of(coefficient[:1].expand(5, -1, -1)))["value"].tolist() == pytest.approx(
        [0, 0, 0], abs=1e-12
    )
    once, tenfold = (Stability().score(case_of(s * coefficient))["value"] for s in (1, 10))
    assert torch.allclose(10 * once, tenfold)
    once, tenfold = (Stability(relative=True).score(case_of(s * coefficient))["value"] for s in (1, 10))
    assert torch.allclose(once, tenfold)
    expected = (
        sum((coefficient[i, 1] - coefficient[:, 1].mean(0)).norm() for i in range(5))
        / 5
        / coefficient[:, 1].mean(0).norm()
    )
    assert once[1].item() == pytest.approx(expected.item(), rel=1e-12)


def test_relative_to_nothing_is_nan_and_counted():
    coefficient = torch.zeros(5, 2, 4)
    coefficient[:, 1] = 1
    summary = mean_summary(Stability(relative=True).score(case_of(coefficient))["value"])
    assert (summary.mean, summary.n, summary.n_nan) == (0, 1, 1)


def test_overrides_and_messages():
    assert Stability(n_repeats=3).overrides() == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    with pytest.raises(ValueError, match="n_repeats"):
        Stability(n_repeats=1)
    with pytest.raises(ValueError, match="no segment coefficients"):
        Stability().score(
            Case(batch=batch_of(torch.zeros(1, 1, 2, 2)), explanations=(Explanation(target=torch.zeros(1)),))
        )
