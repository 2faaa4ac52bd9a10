import math

import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import mean_summary
from pomelo_lab.metric.reasonability import IoU, MaskPrecision, MaskRecall
from pomelo_lab.types import Explanation
from tests.tiny import batch_of

FAMILY = (IoU, MaskRecall, MaskPrecision)


def case_of(attribution, mask):
    n = len(attribution)
    batch = batch_of(torch.zeros(n, 1, *attribution.shape[1:]), masks={"label": mask})
    return Case(batch=batch, explanation=Explanation(target=torch.zeros(n, dtype=torch.long), attribution=attribution))


def score(metric, attribution, mask):
    return metric.score(case_of(attribution, mask))["value"]


@pytest.mark.parametrize("area", [0.275, 0.6])
def test_random_maps_have_closed_forms(area):
    generator = torch.Generator().manual_seed(0)
    attribution = torch.rand(8, 128, 128, generator=generator)
    mask = torch.zeros(8, 128 * 128, dtype=torch.bool)
    mask[:, : round(area * 128 * 128)] = True
    mask = mask.view(8, 128, 128)
    rest = 1 - area
    assert score(IoU(), attribution, mask).mean().item() == pytest.approx(
        area / rest - (area / rest) ** 2 * math.log(1 / area), abs=0.005
    )
    assert score(MaskRecall(), attribution, mask).mean().item() == pytest.approx(0.5, abs=0.005)
    assert score(MaskPrecision(), attribution, mask).mean().item() == pytest.approx(area, abs=0.01)


def test_a_perfect_map():
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, 2:5, 2:5] = True
    # every threshold below 1 selects the mask; at 1 nothing is selected: half an interval of 0.01 is lost
    assert score(IoU(), mask.float(), mask).item() == pytest.approx(0.995, abs=1e-12)
    assert score(MaskRecall(), mask.float() * 7 - 3, mask).item() == pytest.approx(0.995, abs=1e-12)
    assert score(MaskPrecision(), mask.float(), mask).item() == pytest.approx(1, abs=1e-12)
    assert score(MaskPrecision(empty="zero"), mask.float(), mask).item() == pytest.approx(0.995, abs=1e-12)
    assert score(IoU(), -mask.float(), mask).item() == 0


def test_against_a_plain_loop_over_thresholds():
    generator = torch.Generator().manual_seed(1)
    attribution = torch.randn(3, 9, 7, generator=generator).mul(4).round() / 4  # with ties
    mask = torch.rand(3, 9, 7, generator=generator) < 0.4
    results = {cls: cls().score(case_of(attribution, mask)) for cls in FAMILY}
    for b in range(3):
        value = attribution[b].double()
        value = (value - value.min()) / (value.max() - value.min())
        for t in range(101):
            chosen = value > t / 100
            both = (chosen & mask[b]).sum().item()
            assert results[IoU]["curve"][b, t].item() == pytest.approx(both / (chosen | mask[b]).sum().item(), abs=1e-6)
            assert results[MaskRecall]["curve"][b, t].item() == pytest.approx(both / mask[b].sum().item(), abs=1e-6)
            if chosen.any():
                assert results[MaskPrecision]["curve"][b, t].item() == pytest.approx(
                    both / chosen.sum().item(), abs=1e-6
                )
            else:
                assert results[MaskPrecision]["curve"][b, t].isnan()
        curve = results[IoU]["curve"][b].double()
        assert results[IoU]["value"][b].item() == pytest.approx(torch.trapezoid(curve, dx=0.01).item(), abs=1e-6)


def test_undefined_images_are_nan_and_counted():
    attribution = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 4, 4, dtype=torch.bool)
    mask[0] = False
    attribution[2, 1, 1] = math.nan
    for cls in FAMILY:
        scores = cls().score(case_of(attribution, mask))
        assert scores["value"].isnan().tolist() == [True, False, True] and scores["curve"].shape == (3, 101)
        summary = mean_summary(scores["value"])
        assert (summary.n, summary.n_nan) == (1, 2)


def test_a_constant_map_selects_nothing():
    attribution, mask = torch.full((1, 4, 4), 0.7), torch.ones(1, 4, 4, dtype=torch.bool)
    assert score(IoU(), attribution, mask).item() == 0 and score(MaskRecall(), attribution, mask).item() == 0
    assert score(MaskPrecision(), attribution, mask).isnan().all()
    assert score(MaskPrecision(empty="zero"), attribution, mask).item() == 0


def test_messages():
    mask = torch.ones(1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="part='hair'.*label"):
        IoU(part="hair").score(case_of(torch.rand(1, 4, 4), mask))
    case = case_of(torch.rand(1, 4, 4), mask)
    with pytest.raises(ValueError, match="attribution"):
        IoU().score(Case(batch=case.batch, explanation=Explanation(target=torch.zeros(1, dtype=torch.long))))
