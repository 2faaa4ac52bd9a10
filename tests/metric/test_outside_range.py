import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.case import Case
from pomelo_lab.generator.glow import Glow
from pomelo_lab.metric.outside_range import OutsideRange
from tests.tiny import tiny_batch

FLOW = Glow(channels=1, size_px=8, n_flows=1, n_blocks=1, hidden=4, margin=0.05)


def scored(n=4, **options):
    metric = OutsideRange(**{"generator": FLOW, "n_per_image": 200, **options})
    return metric.score(Case(batch=tiny_batch(n, (1, 8, 8)), streams=RandomStreams(0)))["value"]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_an_untrained_flow_leaves_the_range_as_often_as_normals_leave_the_logits_of_its_ends(temperature):
    """It only rotates: colours are sigmoids of independent normals, and [0,1] ends half a bin inside [margin,
    1-margin]."""
    ends = torch.tensor(0.05 + 0.9 * 0.5 / 256).logit()
    expected = 2 * float(torch.special.ndtr(ends.double() / temperature))
    share = scored(temperature=temperature)
    assert float(share.mean()) == pytest.approx(expected, abs=5 * (expected / (4 * 200 * 64)) ** 0.5 + 1e-3)


def test_an_images_share_is_its_own():
    assert torch.equal(scored(4)[:2], scored(2)) and len(scored(4).unique()) > 1
    small = Glow(channels=1, size_px=8, n_flows=1, n_blocks=1, hidden=4, batch_size=7)
    torch.testing.assert_close(scored(generator=small), scored())
