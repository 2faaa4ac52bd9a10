import math

import pytest
import torch
import torch.nn.functional as F

from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.saliency import Saliency, enlarged
from pomelo_lab.types import Explanation
from tests.metric.test_localization import square
from tests.tiny import TinyLinear, batch_of, tiny_image


def case_of(maps, classifier=None, image=None, batch_size=64):
    n, side = len(maps), maps.shape[-1]
    image = tiny_image(n, (3, side, side)) if image is None else image
    classifier = classifier or TinyLinear.random(3, image.shape[1:], scale=0.3, dtype=torch.float64)
    target = torch.arange(n) % classifier.num_classes
    explanation = Explanation(target=target, attribution=maps)
    return Case(
        batch=batch_of(image),
        target=target,
        explanation=explanation,
        classifier=view(classifier, "black_box", batch_size),
    )


def test_a_classifier_that_always_says_the_same():
    constant = TinyLinear(weight=torch.zeros(4, 3, 10, 10, dtype=torch.float64))  # 1/4 for every class
    for size, share in ((5, 0.25), (2, 0.05), (10, 1.0)):
        candidates = Saliency(alpha=0.5).score(case_of(square(0, 0, size)[None], constant))["candidates"]
        assert float(candidates) == pytest.approx(math.log(share) + math.log(4), abs=1e-6)
    assert float(
        Saliency(alpha=0.5, smallest_area=0.01).score(case_of(square(0, 0, 2)[None], constant))["candidates"]
    ) == pytest.approx(math.log(0.04 * 4), abs=1e-6)


def test_the_whole_image_costs_its_own_probability():
    case = case_of(torch.ones(3, 8, 8))
    own = case.classifier.probability(case.batch.image).gather(1, case.target[:, None])[:, 0]
    torch.testing.assert_close(
        Saliency(alpha=0.0).score(case)["candidates"][:, 0], -own.double().log(), atol=1e-6, rtol=0
    )


def test_the_crop_is_the_box_enlarged():
    image = tiny_image(1, (3, 10, 10))
    assert torch.equal(
        enlarged(image[0], [2, 4, 6, 9]), F.interpolate(image[:, :, 4:9, 2:6], (10, 10), mode="bilinear")
    )
    marked = torch.zeros(1, 3, 10, 10)
    marked[:, :, 4:8, 2:6] = 1.0  # white exactly in the box: its crop is white everywhere
    linear = TinyLinear(weight=torch.full((1, 3, 10, 10), 1 / 300, dtype=torch.float64), output="identity")
    candidates = Saliency(alpha=0.5).score(case_of(square(4, 2)[None], linear, marked))["candidates"]
    assert float(candidates) == pytest.approx(math.log(0.16), abs=1e-6)


def test_equal_boxes_are_asked_once():
    case = case_of(torch.stack([square(2, 2), square(4, 4)]))
    Saliency().score(case)
    assert case.classifier.queries == 4  # per image the whole (alpha 0) and the square


def test_undefined_maps_neighbours_and_batch_size():
    maps = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    maps[2] = torch.nan
    whole = Saliency().score(case_of(maps))["candidates"]
    assert whole[2].isnan().all() and whole[[0, 1, 3]].isfinite().all()
    torch.testing.assert_close(Saliency().score(case_of(maps, batch_size=3))["candidates"], whole, equal_nan=True)
