import pytest
import torch

from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.effective_heat_ratio import EffectiveHeatRatio
from pomelo_lab.types import Explanation
from tests.tiny import TinyLinear, batch_of

SIDE = 100


def roi(n=1):
    mask = torch.zeros(n, SIDE, SIDE, dtype=torch.bool)
    mask[:, 40:60, 30:50] = True
    return mask


def ehr(maps, mask=None, **options):
    mask = roi(len(maps)) if mask is None else mask
    batch = batch_of(torch.rand(len(maps), 3, SIDE, SIDE), masks={"label": mask})
    target = torch.zeros(len(maps), dtype=torch.long)
    classifier = view(TinyLinear.random(2, (3, SIDE, SIDE), scale=0.01), "black_box", 64)
    case = Case(
        batch=batch, target=target, explanation=Explanation(target=target, attribution=maps), classifier=classifier
    )
    return EffectiveHeatRatio(**options).score(case)["value"]


def ramp():
    heat = torch.zeros(SIDE, SIDE)
    heat[40:60, 30:50] = torch.linspace(0.2, 1, 400).view(20, 20)
    return heat


@pytest.mark.parametrize(
    ("maps", "weighted", "unweighted", "within"),
    [
        (0.5 * roi()[0].float(), 0.5, 1.0, 1e-6),
        (torch.full((SIDE, SIDE), 0.9), 0.036, 0.04, 1e-6),
        (torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0)), 0.0315, 0.041, 0.01),
        (ramp(), 0.8, 1.0, 2e-3),
    ],
)
def test_known_maps_as_they_are(maps, weighted, unweighted, within):
    """The values that the InputIBA code gives for these maps."""
    assert float(ehr(maps[None], scale="none")) == pytest.approx(weighted, abs=within)
    assert float(ehr(maps[None], scale="none", weighted=False)) == pytest.approx(unweighted, abs=within)


def test_the_code_s_loop():
    """The steps of the InputIBA code, in numpy."""
    import numpy as np

    heat = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(1)).double().numpy() ** 3
    mask = roi()[0].numpy()
    kept = np.where(heat >= 0.1, heat, 0)
    hot = kept[kept > 0]
    ratios = []
    for q in np.linspace(0, 1, 11):
        threshold = min(np.quantile(hot, q), 0.99 * heat.max())
        chosen = kept >= threshold
        ratios.append((kept * (chosen & mask)).sum() / chosen.sum())
    expected = (np.sum(ratios) - (ratios[0] + ratios[-1]) / 2) * 0.1
    assert float(ehr(torch.from_numpy(heat)[None], scale="none")) == pytest.approx(expected, abs=1e-9)


def test_scaled_maps_do_not_depend_on_their_scale_and_the_input_is_not_touched():
    maps = torch.rand(2, SIDE, SIDE) - 0.3
    before = maps.clone()
    assert torch.allclose(ehr(maps), ehr(7 * maps)) and torch.equal(maps, before)
    assert not torch.allclose(ehr(maps, scale="none"), ehr(0.5 * maps, scale="none"))
    assert torch.allclose(ehr(maps), ehr(maps.clamp_min(0)))


def test_a_map_without_positive_values_counts_as_an_export_to_an_image_shows_it():
    """Eq. 49 is minus what was lost: negative everywhere, least where most was lost."""
    lost = -1.0 - torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    blind = float(ehr(lost, scale="minmax"))
    lost[0, 40:60, 30:50] = -0.1
    assert float(ehr(lost)) == 0
    # a shift is none
    assert float(ehr(lost, scale="minmax")) == pytest.approx(float(ehr(lost + 7, scale="minmax")), abs=1e-6)
    assert float(ehr(lost, scale="minmax")) > 3 * blind
    plain = ramp()[None]
    torch.testing.assert_close(ehr(plain, scale="minmax"), ehr(plain))  # least value 0: nothing changes


def test_a_single_peak_does_not_make_the_rest_of_the_map_cold():
    maps = 0.5 * roi().float()
    maps[0, 5, 5] = 50.0
    assert float(ehr(maps)) == 0
    assert float(ehr(maps, scale="quantile")) == pytest.approx(400 / 401, abs=1e-6)
    one = torch.zeros(1, SIDE, SIDE)
    one[0, 50, 40] = 3.0
    assert float(ehr(one, scale="quantile")) == pytest.approx(1.0, abs=1e-6)  # fewer hot pixels than 1 %


def test_no_heat_is_zero_and_what_does_not_count_is_nan():
    maps = torch.zeros(3, SIDE, SIDE)
    maps[1, 0, 0], maps[2] = torch.nan, -1.0
    ratio = ehr(maps)
    assert ratio[0] == 0 and ratio[1].isnan() and ratio[2] == 0
    assert ehr(ramp()[None], mask=torch.zeros(1, SIDE, SIDE, dtype=torch.bool)).isnan().all()
    assert ehr(ramp()[None], largest_area=0.03).isnan().all() and ehr(ramp()[None], largest_area=0.04).isfinite().all()
    assert (
        ehr(ramp()[None], least_probability=0.999999).isnan().all()
        and ehr(ramp()[None], least_probability=1e-9).isfinite().all()
    )


def test_eight_bit_export_wraps_negative_values():
    maps = 3 * torch.tensor([0.5, -1 / 255, 1 / 510, 0.0]).repeat(SIDE, SIDE // 4)
    levels = torch.tensor([127, 255, 0, 0]).repeat(SIDE, SIDE // 4) / 255
    torch.testing.assert_close(ehr(maps[None], export="uint8", scale="none"), ehr(levels[None], scale="none"))
