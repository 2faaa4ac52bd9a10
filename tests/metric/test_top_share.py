import math

import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.top_share import TopShare
from pomelo_lab.types import Perturbations
from tests.tiny import tiny_batch


def case_of(winner, n_classes):
    """Perturbations of three images, won by the given classes [3,N]."""
    probability = torch.nn.functional.one_hot(torch.tensor(winner), n_classes).float()
    image = torch.zeros(*probability.shape[:2], 3, 8, 8, dtype=torch.uint8)
    return Case(batch=tiny_batch(3), perturbations=Perturbations(image, None, probability))


def test_the_top_classes_are_those_of_all_images_together():
    case = case_of([[0, 0, 1, 2], [3, 3, 3, 0], [5, 4, 1, 0]], 7)
    rows = TopShare().score(case)
    # classes 0, 3 and 1, perturbation 0 left out
    assert TopShare().summarize(rows, {}).mean == pytest.approx((3 + 2 + 2) / 9)
    assert TopShare(n_top=1).summarize(rows, {}).mean == pytest.approx(3 / 9)
    assert TopShare(n_top=99).summarize(rows, {}).mean == pytest.approx(1.0)


def test_images_without_finite_answers_are_left_out_and_counted():
    rows = TopShare().score(case_of([[0, 0], [1, 1], [2, 2]], 3))
    rows["distribution"][1] = math.nan
    summary = TopShare(n_top=1).summarize(rows, {})
    assert (summary.mean, summary.n, summary.n_nan) == (0.5, 2, 1)
