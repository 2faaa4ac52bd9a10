import pytest
import torch

from pomelo_lab.metric.relevance import PointingGame, RelevanceMass, RelevanceRank
from tests.metric.test_localization import case_of, square


def value(metric, maps, masks):
    return metric.score(case_of(maps, masks))["value"]


MASK = square(2, 2)[None].bool()


def test_mass():
    maps = square(2, 2)[None] * 3.0
    maps[0, 9, 9], maps[0, 0, 0] = 16.0, -100.0
    assert float(value(RelevanceMass(), maps, MASK)) == pytest.approx(48 / 64)
    assert float(value(RelevanceMass(of="absolute"), maps, MASK)) == pytest.approx(48 / 164)
    assert float(value(RelevanceMass(of="signed"), maps, MASK)) == pytest.approx(48 / -36)
    assert value(RelevanceMass(), -maps.abs(), MASK).isnan().all()


def test_rank_counts_ties_at_the_edge_in_part():
    maps = torch.zeros(1, 10, 10)
    maps[0, 2:6, 2:4] = 2.0  # 8 of the mask's 16
    maps[0, 0, :4] = 1.0  # 4 outside
    maps[0, 2, 4:6] = 1.0  # 2 inside, tied with them; the other 2 of the 16 places fall on ties at 0
    assert float(value(RelevanceRank(), maps, MASK)) == pytest.approx((8 + 2 + 2 / 86 * 6) / 16)
    assert float(value(RelevanceRank(), torch.zeros(1, 10, 10), MASK)) == pytest.approx(0.16)
    assert float(value(RelevanceRank(), square(2, 2)[None], MASK)) == 1
    assert value(RelevanceRank(), maps, MASK & False).isnan().all()


def test_pointing():
    inside, beside = torch.zeros(1, 10, 10), torch.zeros(1, 10, 10)
    inside[0, 3, 3] = beside[0, 6, 6] = 1
    assert float(value(PointingGame(), inside, MASK)) == 1 and float(value(PointingGame(), beside, MASK)) == 0
    assert float(value(PointingGame(tolerance_px=1), beside, MASK)) == 1
    assert float(value(PointingGame(), inside + beside, MASK)) == 0.5
    assert (
        value(PointingGame(), inside, MASK & False).isnan().all()
        and value(PointingGame(), inside * torch.nan, MASK).isnan().all()
    )
