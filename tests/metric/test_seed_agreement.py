import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.seed_agreement import SeedAgreement
from pomelo_lab.metric.stability import Stability
from pomelo_lab.types import Explanation
from tests.tiny import batch_of


def case_of(coefficient, count=None):
    """coefficient [m,B,S], count [B]"""
    n = coefficient.shape[1]
    count = torch.full((n,), coefficient.shape[2]) if count is None else count
    extras = [{"coefficient": one, "n_segments": count} for one in coefficient]
    explanations = tuple(Explanation(target=torch.zeros(n, dtype=torch.long), extra=extra) for extra in extras)
    return Case(batch=batch_of(torch.zeros(n, 1, 2, 2)), explanations=explanations)


def test_mean_of_scipys_rank_correlations_with_ties_whatever_the_padding():
    coefficient = torch.randn(3, 2, 9, generator=torch.Generator().manual_seed(0)).mul(2).round()
    count = torch.tensor([9, 6])
    coefficient[:, 1, 6:] = 0  # beyond the image's own segments
    value = SeedAgreement(n_repeats=3).score(case_of(coefficient, count))["value"]
    for i, n in enumerate(count.tolist()):
        pairs = [spearmanr(coefficient[a, i, :n], coefficient[b, i, :n]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
        assert value[i].item() == pytest.approx(np.mean(pairs), abs=1e-12)


def test_shrinking_helps_stability_and_not_agreement():
    coefficient = torch.randn(5, 50, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    large, small = (case_of(scale * coefficient) for scale in (1, 0.1))
    assert torch.allclose(Stability().score(small)["value"], 0.1 * Stability().score(large)["value"])
    assert torch.equal(SeedAgreement().score(small)["value"], SeedAgreement().score(large)["value"])
    assert SeedAgreement().score(large)["value"].mean().item() == pytest.approx(0, abs=0.05)  # independent: chance
    assert SeedAgreement().score(case_of(coefficient[:1].exp().repeat(5, 1, 1)))["value"].tolist() == pytest.approx(
        [1] * 50
    )


def test_no_order_is_undefined():
    assert SeedAgreement(n_repeats=2).score(case_of(torch.ones(2, 3, 4)))["value"].isnan().all()
    with pytest.raises(ValueError, match="metric SeedAgreement .* no segment coefficients"):
        SeedAgreement().score(
            Case(batch=batch_of(torch.zeros(1, 1, 2, 2)), explanations=(Explanation(target=torch.zeros(1)),))
        )
