import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.map_shape import Roughness, Sparseness
from pomelo_lab.types import Explanation
from tests.tiny import tiny_batch


def score(metric, maps):
    target = torch.zeros(len(maps), dtype=torch.long)
    return metric.score(
        Case(batch=tiny_batch(1), target=target, explanation=Explanation(target=target, attribution=maps))
    )["value"]


def test_sparseness_of_even_ramped_and_single_maps():
    single = torch.zeros(1, 20, 20)
    single[0, 3, 4] = -2.0
    assert float(score(Sparseness(), torch.ones(1, 20, 20))) == pytest.approx(0, abs=1e-12)
    assert float(score(Sparseness(), torch.arange(400.0).view(1, 20, 20))) == pytest.approx(1 / 3, abs=2e-3)
    assert float(score(Sparseness(), single)) == pytest.approx(1 - 1 / 400)
    assert score(Sparseness(), torch.zeros(1, 20, 20)).isnan().all()


def test_roughness_is_one_for_shuffled_pixels_and_small_for_slopes_whatever_shift_and_scale():
    noise = torch.rand(4, 40, 40, generator=torch.Generator().manual_seed(0)) ** 3
    slope = torch.linspace(0, 1, 40)[None, :, None].expand(1, 40, 40).clone()
    assert score(Roughness(), noise).mean() == pytest.approx(1, abs=0.02)
    assert float(score(Roughness(), slope)) < 0.06
    torch.testing.assert_close(score(Roughness(), 5 * slope - 3), score(Roughness(), slope))
    chess = (torch.arange(40)[:, None] + torch.arange(40)) % 2
    # strangers differ half of the time
    assert float(score(Roughness(), chess[None].float())) == pytest.approx(2, abs=2e-3)
    assert score(Roughness(), torch.ones(1, 8, 8)).isnan().all()
