import math
from itertools import combinations

import numpy as np
import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.sensitivity import Sensitivity
from pomelo_lab.types import Explanation
from tests.tiny import tiny_batch

KINDS = ("ssim", "hog", "spearman")


def sensitivity(kind, n=3):
    return Sensitivity(key="seed", settings=list(range(n)), similarity=kind, cell_px=8, block_cells=3)


def case_of(*maps):
    target = torch.zeros(len(maps[0]), dtype=torch.long)
    return Case(
        batch=tiny_batch(len(maps[0])), explanations=tuple(Explanation(target=target, attribution=one) for one in maps)
    )


def drawn(n=3, b=2, side=24):
    return [torch.randn(b, side, side, generator=torch.Generator().manual_seed(i)) for i in range(n)]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_are_those_of_scikit_image_and_scipy(kind):
    from scipy.stats import pearsonr, spearmanr
    from skimage.feature import hog
    from skimage.metrics import structural_similarity

    maps = drawn()
    maps[1][:, :4] = 0.5  # ties
    scores = sensitivity(kind).score(case_of(*maps))
    for b in range(2):
        scaled = [((m[b] - m[b].min()) / (m[b].max() - m[b].min())).double().numpy() for m in maps]
        for p, (i, j) in enumerate(combinations(range(3), 2)):
            features = [
                hog(one, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(3, 3))
                for one in (scaled[i], scaled[j])
            ]
            expected = {
                "ssim": lambda i=i, j=j, s=scaled: structural_similarity(s[i], s[j], data_range=1.0),
                "hog": lambda f=features: pearsonr(*f).statistic,
                "spearman": lambda i=i, j=j, s=scaled: spearmanr(s[i].ravel(), s[j].ravel()).statistic,
            }[kind]()
            assert float(scores["pairs"][b, p]) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(scores["value"], scores["pairs"].mean(1))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_maps_agree_fully_whatever_their_scale(kind):
    one = drawn(1)[0]
    assert sensitivity(kind).score(case_of(one, 5 * one - 2, one + 100))["value"].tolist() == pytest.approx(
        [1, 1], abs=1e-4
    )


def test_opposite_orders():
    one = drawn(1)[0]
    assert sensitivity("spearman", 2).score(case_of(one, -one))["value"].tolist() == pytest.approx([-1, -1], abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_and_broken_maps_leave_their_pairs_out(kind):
    maps = drawn(3, 3)
    maps[1][1] = 7.0
    maps[2][2] = math.nan
    maps[0][2] = 0.0
    scores = sensitivity(kind).score(case_of(*maps))
    assert scores["pairs"].isnan().int().tolist() == [[0, 0, 0], [1, 0, 1], [1, 1, 1]]
    assert float(scores["value"][1]) == pytest.approx(float(scores["pairs"][1, 1])) and scores["value"][2].isnan()
    alone = sensitivity(kind).score(case_of(*(m[[0]] for m in maps)))
    assert float(alone["value"]) == float(scores["value"][0])


def test_settings_become_overrides_and_mistakes_are_named():
    metric = Sensitivity(key="explainer.patch_px", settings=[3, 5, 9])
    assert metric.overrides() == [{"explainer.patch_px": n} for n in (3, 5, 9)]
    with pytest.raises(ValueError, match="settings must hold two values of seed or more"):
        Sensitivity(key="seed", settings=[1])
    with pytest.raises(ValueError, match=r"cell_px \* block_cells must be <= 24, the side of the maps, got 48"):
        Sensitivity(key="seed", settings=[1, 2], similarity="hog").score(case_of(*drawn(2)))
    assert np.isfinite(sensitivity("hog", 2).score(case_of(*drawn(2)))["value"]).all()


def test_the_authors_settings_are_those_of_their_code():
    """Sensitivity_Analysis_Basic.py of anguyen8/sam: ssim(h1, h2, data_range=2, win_size=5), LIME's maps over their
    largest magnitude."""
    from skimage.metrics import structural_similarity

    maps = [0.1 * one for one in drawn(2)]
    raw = Sensitivity(key="seed", settings=[0, 1], scaling="none", win_size=5, data_range=2.0).score(case_of(*maps))[
        "value"
    ]
    lime = Sensitivity(key="seed", settings=[0, 1], scaling="max_abs", win_size=5, data_range=2.0).score(
        case_of(*maps)
    )["value"]
    for b in range(2):
        a, c = (one[b].double().numpy() for one in maps)
        assert float(raw[b]) == pytest.approx(structural_similarity(a, c, win_size=5, data_range=2), abs=1e-9)
        a, c = (one / abs(one).max() for one in (a, c))
        assert float(lime[b]) == pytest.approx(structural_similarity(a, c, win_size=5, data_range=2), abs=1e-9)


def test_without_scaling_small_maps_are_alike_by_construction():
    maps = drawn(2)
    metrics = {s: Sensitivity(key="seed", settings=[0, 1], scaling=s, data_range=2.0) for s in ("none", "unit")}
    scores = {s: metric.score(case_of(*(1e-3 * m for m in maps)))["value"] for s, metric in metrics.items()}
    assert (scores["none"] > 0.99).all() and (scores["unit"] < 0.5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_null_compares_with_the_image_before(kind):
    maps = drawn(3, 3)
    null = Sensitivity(key="seed", settings=[0, 1, 2], similarity=kind, cell_px=8, compared="other_image")
    scores = null.score(case_of(*maps))
    for b, other in ((0, 1), (1, 0), (2, 1)):
        for p, (i, j) in enumerate(combinations(range(3), 2)):
            pair = sensitivity(kind, 2).score(case_of(maps[i][[b]], maps[j][[other]]))["value"]
            assert float(scores["pairs"][b, p]) == pytest.approx(float(pair), abs=1e-9)
    shorter = null.score(case_of(*(m[:2] for m in maps)))
    assert torch.equal(shorter["pairs"], scores["pairs"][:2])  # images that come later change nothing
    assert null.score(case_of(*(m[:1] for m in maps)))["value"].isnan().all()


def test_the_spread_within_images_is_told():
    metric, maps = sensitivity("spearman"), drawn(3, 4)
    rows = metric.score(case_of(*maps))
    within = metric.summarize(rows, {}).details["within"]
    assert within == pytest.approx(float(np.sqrt(np.var(rows["pairs"].numpy(), axis=1, ddof=1).mean())))
    with pytest.raises(ValueError, match="win_size must be odd, got 4"):
        Sensitivity(key="seed", settings=[1, 2], win_size=4)
