"""Changes that are known: the same, opposite, apart, none."""

import pytest
import torch

from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.change_similarity import ChangeSimilarity
from pomelo_lab.types import Explanation
from tests.tiny import batch_of


def case(*changes, flipped=None):
    """Images of 0.5 and counterfactuals that add changes [B,3,4,4] to them."""
    image = torch.full((2, 3, 4, 4), 0.5)
    flipped = flipped or [torch.ones(2)] * len(changes)
    made = tuple(
        Explanation(torch.zeros(2, dtype=torch.long), counterfactual=image + change, extra={"flipped": ones})
        for change, ones in zip(changes, flipped, strict=True)
    )
    return Case(batch=batch_of(image), explanations=made)


def corner(x, y, size=0.1):
    change = torch.zeros(2, 3, 4, 4)
    change[:, :, y, x] = size
    return change


def metric(n):
    return ChangeSimilarity(settings=[[i] for i in range(n)])


def test_the_same_change_is_alike_however_far_it_goes():
    assert metric(2).score(case(corner(0, 0), corner(0, 0, 0.4)))["value"].tolist() == pytest.approx([1, 1], abs=1e-5)
    assert metric(2).score(case(corner(0, 0), corner(0, 0, -0.2)))["value"].tolist() == pytest.approx(
        [-1, -1], abs=1e-5
    )
    assert metric(2).score(case(corner(0, 0), corner(3, 1)))["value"].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_pairs_are_averaged_and_outcomes_counted():
    both = corner(0, 0) + corner(1, 0)
    scores = metric(3).score(
        case(corner(0, 0), corner(1, 0), both, flipped=[torch.tensor([1.0, 0]), torch.ones(2), torch.ones(2)])
    )
    assert scores["value"].tolist() == pytest.approx([2 * 0.5**0.5 / 3] * 2, abs=1e-5)
    assert scores["reached"].tolist() == pytest.approx([1, 2 / 3])


def test_no_change_is_not_alike_to_anything():
    assert metric(2).score(case(torch.zeros(2, 3, 4, 4), corner(0, 0)))["value"].isnan().all()


def test_what_it_compares():
    assert ChangeSimilarity().overrides() == [{"explainer.index": [i]} for i in range(4)]
    with pytest.raises(ValueError, match="settings must hold two or more"):
        metric(1)
    bare = Explanation(torch.zeros(2, dtype=torch.long), attribution=torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="needs counterfactuals"):
        metric(2).score(Case(batch=batch_of(torch.zeros(2, 3, 4, 4)), explanations=(bare, bare)))
