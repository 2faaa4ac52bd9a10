import math

import pytest
import torch

from pomelo_lab.metric.map_similarity import by_magnitude, correlations, other_images, pairwise, spearman, unit, varies


def test_maps_that_order_no_pixels():
    maps = torch.arange(16.0).view(4, 2, 2)
    maps[1], maps[2, 0, 0], maps[3, 0, 0] = 7.0, math.nan, math.inf
    assert varies(maps).tolist() == [True, False, False, False]
    pairs = pairwise(torch.stack([maps[0], maps[1], -maps[0]]), spearman)
    assert pairs.isnan().tolist() == [True, False, True] and float(pairs[1]) == pytest.approx(-1)


def test_scales():
    maps = torch.tensor([[[-4.0, 0.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert by_magnitude(maps).flatten(1).tolist() == [[-1, 0, 0.5, 0.25], [0, 0, 0, 0]]
    assert unit(maps)[0].flatten().tolist() == pytest.approx([0, 4 / 6, 1, 5 / 6]) and not unit(maps)[1].any()


def test_correlations_are_pearson_s():
    rows = torch.randn(3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = torch.corrcoef(rows)
    assert correlations(rows) == pytest.approx([float(whole[i, j]) for i, j in ((0, 1), (0, 2), (1, 2))])


def test_another_image_is_the_one_before():
    assert other_images(4) == [1, 0, 1, 2] and other_images(1) == [0]
