import math

import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.insertion_deletion import BLOCK, InsertionDeletion
from pomelo_lab.metric.rise_game import DeletionRise, InsertionRise
from pomelo_lab.types import Explanation
from tests.tiny import ConstantFiller, TinyLinear, batch_of, tiny_image


def case_of(maps, classifier=None, image=None):
    n, side = len(maps), maps.shape[-1]
    image = tiny_image(n, (3, side, side)) if image is None else image
    classifier = classifier or TinyLinear.random(3, image.shape[1:], scale=0.3, dtype=torch.float64)
    target = torch.arange(n) % classifier.num_classes
    explanation = Explanation(target=target, attribution=maps)
    return Case(
        batch=batch_of(image),
        target=target,
        explanation=explanation,
        classifier=view(classifier, "black_box", 64),
        streams=RandomStreams(0),
    )


def dauc(**options):
    return InsertionDeletion(
        **{"deletion": ConstantFiller(value=0.0), "insertion": ConstantFiller(value=0.0), "step_px": 7, **options}
    )


def linear(side=8):
    """p(class 0) = mean pixel of the first channel."""
    weight = torch.zeros(2, 3, side, side, dtype=torch.float64)
    weight[0, 0] = 1 / side**2
    return TinyLinear(weight=weight, output="identity")


def test_linear_classifier_by_hand():
    """Pixels of value v in order of importance: deletion keeps the sum of the rest, insertion the sum of the first."""
    image = tiny_image(1)
    order = image[0, 0].flatten().argsort(descending=True)
    maps = torch.empty(64).scatter_(0, order, torch.linspace(1, 0, 64)).view(1, 8, 8)
    values = image[0, 0].flatten()[order].double() / 64
    changed = torch.tensor([0, 7, 14, 21, 28, 35, 42, 49, 56, 63, 64])
    inserted = torch.stack([values[:k].sum() for k in changed])
    scores = dauc().score(case_of(maps, linear(), image))
    torch.testing.assert_close(scores["insertion"][0].double(), inserted, atol=1e-6, rtol=0)
    torch.testing.assert_close(scores["deletion"][0].double(), values.sum() - inserted, atol=1e-6, rtol=0)
    area = torch.trapezoid(2 * inserted - values.sum(), changed / 64)
    assert float(scores["value"]) == pytest.approx(float(area), abs=1e-6)
    worst = dauc().score(case_of(-maps, linear(), image))
    assert float(worst["value"]) < 0 < float(scores["value"])


def test_rise_protocol_is_the_two_games():
    case = case_of(torch.rand(3, 8, 8))
    options = {"filler": ConstantFiller(value=0.0), "step_px": 7}
    expected = InsertionRise(**options).score(case)["value"] - DeletionRise(**options).score(case)["value"]
    torch.testing.assert_close(dauc(protocol="rise").score(case)["value"], expected)


def test_stale_scores_of_the_inputiba_code():
    """Every score of a block of 80 steps is the block's last: computed here from all steps, as the code stacks them."""
    side = 40
    case = case_of(torch.rand(2, side, side), TinyLinear.random(3, (3, side, side), scale=0.02, dtype=torch.float64))
    every = dauc(step_px=10, protocol="rise").score(case)
    areas = []
    for name in ("insertion", "deletion"):
        curve = every[name][:, 1:].double()
        stale = curve.clone()
        for start in range(0, curve.shape[1], BLOCK):
            stop = min(start + BLOCK, curve.shape[1])
            stale[:, start:stop] = curve[:, stop - 1 : stop]
        areas.append(torch.trapezoid(stale, dx=1 / curve.shape[1], dim=1))
    scores = dauc(step_px=10, protocol="inputiba_compat").score(case)
    torch.testing.assert_close(scores["value"], areas[0] - areas[1], atol=1e-6, rtol=0)
    assert (
        scores["insertion"].shape[1] == 2
        and dauc(step_px=10, protocol="inputiba_compat").cost((3, side, side), 0).queries == 4
    )


def test_stale_scores_inflate():
    """p = exp(-20 f) under deletion: 0.0498 becomes 0.0424 when scores come 80 of 5,018 steps late."""
    n_steps = 5018
    fraction = torch.arange(1, n_steps + 1).double() / n_steps
    whole = torch.trapezoid(torch.exp(-20 * fraction), dx=1 / n_steps)
    stale = torch.exp(-20 * fraction[BLOCK - 1 :: BLOCK])
    assert float(whole) == pytest.approx(0.0498, abs=2e-4)
    assert float(
        dauc(step_px=10, protocol="inputiba_compat").area(
            torch.cat([stale, torch.exp(torch.tensor([[-20.0]]))[0]])[None], 50176
        )
    ) == (pytest.approx(0.0424, abs=5e-4))


def test_undefined_maps_queries_and_export():
    maps = torch.rand(2, 8, 8)
    maps[1, 0, 0] = math.nan
    case = case_of(maps)
    value = dauc().score(case)["value"]
    assert value[0].isfinite() and value[1].isnan() and case.classifier.queries == 2 * dauc().cost((3, 8, 8), 0).queries
    signed = case_of(0.3 * torch.randn(2, 8, 8))
    assert not torch.equal(dauc(export="uint8").score(signed)["value"], dauc().score(signed)["value"])
