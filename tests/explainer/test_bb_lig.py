"""BB-LIG: functions of one pixel, unchanged pixels, the baseline, and white-box paths against captum."""

import pytest
import torch

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import view
from pomelo_lab.explainer.bb_lig import BBLIGExplainer
from pomelo_lab.explainer.directions import log_odds
from tests.explainer.test_gcd import COMMON, SHAPE, fit, images_of, linear
from tests.tiny import TinyLinear, tiny_batch


def bb_lig(**options):
    return BBLIGExplainer(**{**COMMON, "n_path": 9, **options})


def one_pixel(place=(1, 3, 4), scale=6.0):
    """Log-odds of class 1: scale times one value of the image, less a half."""
    weight = torch.zeros(2, *SHAPE, dtype=torch.float64)
    weight[1][place] = scale
    return TinyLinear(weight=weight, bias=torch.tensor([0.0, -scale / 2]))


def explained(explainer, classifier, n=5, reference=None):
    batch = images_of(n)
    box = view(classifier, explainer.access, 64)
    target = box.probability(batch.image).argmax(1)
    return explainer.explain(batch, target, box, Streams(0), reference=reference), batch, target


@pytest.mark.parametrize("variant", ["lig", "bb_ig"])
def test_a_function_of_one_pixel_straight_to_black(variant):
    """Both derivatives leave all other pixels' maps empty only where the derivative is true; differences stand on every changed pixel."""
    explainer = bb_lig(variant=variant)
    found, batch, _ = explained(explainer, one_pixel(), reference=fit(explainer))
    elsewhere = found.attribution.clone()
    elsewhere[:, 3, 4] = 0
    assert bool((found.attribution[:, 3, 4].abs() > 1e-3).all())
    assert bool(elsewhere.any()) == (variant == "bb_ig")


def test_only_the_pixel_that_changes_carries_anything():
    """A path on which one value moves, by hand: its attribution is the difference of the answers, the rest exactly 0."""
    explainer, classifier = bb_lig(), one_pixel()
    path = torch.full((1, 9, *SHAPE), 200, dtype=torch.uint8)
    path[0, :, 1, 3, 4] = torch.arange(240, 60, -20, dtype=torch.uint8)
    box = view(classifier, "black_box", 64)
    answer, target = box.probability(path), torch.tensor([1])
    found = explainer.slopes(path, answer, target, box)
    end = log_odds(answer[0, :, 1])
    assert found[0, 1, 3, 4] == pytest.approx(float(end[0] - end[-1]), rel=1e-4)
    found[0, 1, 3, 4] = 0
    assert not found.any()


def test_white_box_path_is_captum_s():
    from captum.attr import IntegratedGradients

    classifier, explainer = linear(), bb_lig(variant="lig", n_path=5)
    image = tiny_batch(1).image
    share = torch.linspace(0, 1, 5)[:, None, None, None]
    path = (255 * image * (1 - share)).round().to(torch.uint8)[None]
    box = view(classifier, "white_box", 64)
    target = torch.tensor([1])
    found = explainer.slopes(path, box.probability(path), target, box)
    captum = IntegratedGradients(lambda x: box.log_odds(x.float(), torch.ones(len(x), dtype=torch.long)))
    wanted = captum.attribute(path[:, 0] / 255.0, baselines=torch.zeros_like(image), n_steps=50)
    torch.testing.assert_close(found, wanted.to(found), atol=1e-4, rtol=1e-4)


def test_the_baseline_is_the_first_that_is_surely_not_of_the_class():
    explainer = bb_lig(threshold=0.2, both_sides=False, n_alphas=48, reach=12.0)
    reference = fit(explainer)
    found, batch, target = explained(explainer, linear(), reference=reference)
    box = view(linear(), "black_box", 64)
    left = box.probability(found.counterfactual).gather(1, target[:, None])[:, 0]
    assert found.extra["reached"].tolist() == [1.0] * 5 and bool((left < 0.21).all())
    code, noise = explainer.encoded(batch.image)
    line = explainer.lines(found.extra["goal"].long(), reference)[:, 0]
    nearer = explainer.drawn(code, noise, ((found.extra["alpha"] - 0.25)[:, None] * line)[:, None])[:, 0]
    assert bool((box.probability(nearer).gather(1, target[:, None])[:, 0] >= 0.2).all())


def test_no_such_place():
    explainer = bb_lig(threshold=1e-6, reach=0.5)
    found, _, _ = explained(explainer, linear(), reference=fit(explainer))
    assert found.extra["reached"].tolist() == [0.0] * 5 and bool(found.attribution.isfinite().all())


def test_access():
    assert bb_lig().access == "black_box" and bb_lig(variant="lig").access == "white_box"
