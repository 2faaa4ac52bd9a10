"""The two views: what they answer, count, and refuse."""

import math

import pytest
import torch
from torch import nn

from pomelo_lab.batching import MicroBatches
from pomelo_lab.classifier.answers import log_odds
from pomelo_lab.classifier.base import BlackBox, view
from pomelo_lab.classifier.callable import CallableClassifier
from pomelo_lab.classifier.residual import ResidualClassifier
from tests.tiny import TinyLinear


def linear(output="softmax"):
    generator = torch.Generator().manual_seed(0)
    return TinyLinear(weight=torch.randn(3, 1, 4, 4, generator=generator, dtype=torch.float64), output=output)


def images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


def test_black_box_counts_images_whatever_the_micro_batches():
    black_box = view(linear(), "black_box", batch_size=3)
    assert black_box.probability(images(2, 5, 1, 4, 4)).shape == (2, 5, 3)
    assert black_box.queries == 10
    black_box.probability_of(lambda start, stop: images(stop - start, 1, 4, 4), 7)
    assert black_box.queries == 17


def test_black_box_takes_eight_bit_images_as_their_float_values():
    stored = (images(4, 1, 4, 4) * 255).to(torch.uint8)
    black_box = view(linear(), "black_box", 2)
    assert torch.equal(black_box.probability(stored), black_box.probability(stored.float() / 255))


def test_black_box_cannot_be_differentiated():
    black_box = view(linear(), "black_box", 4)
    with pytest.raises(ValueError, match="cannot be differentiated"):
        black_box.probability(images(2, 1, 4, 4).requires_grad_())
    assert not black_box.probability(images(2, 1, 4, 4)).requires_grad
    assert not hasattr(black_box, "logit") and not hasattr(black_box, "network")


def test_white_box_gradient_of_a_linear_model_is_its_weight():
    classifier = linear()
    white_box = view(classifier, "white_box", 2)
    x = images(3, 1, 4, 4).requires_grad_()
    white_box.logit(x)[:, 1].sum().backward()
    torch.testing.assert_close(x.grad, classifier.weight[1].float().expand(3, -1, -1, -1))
    assert white_box.queries == 3


def test_feature_is_the_input_of_the_head():
    classifier = linear()
    x = images(5, 1, 4, 4)
    torch.testing.assert_close(view(classifier, "white_box", 2).feature(x), x.flatten(1))


def test_feature_through_the_head_gives_the_logits():
    classifier = ResidualClassifier(num_classes=4, width=8)
    x = images(3, 3, 32, 32)
    feature = classifier.feature(x)
    assert feature.shape == (3, 32)
    torch.testing.assert_close(classifier.head(feature), classifier.logit(x))


def test_unknown_layer_names_the_nearest():
    classifier = ResidualClassifier(num_classes=2, width=4)
    assert isinstance(classifier.layer("stage1.0.conv1"), nn.Conv2d)
    with pytest.raises(ValueError, match=r"layer 'stagge2' does not exist .*did you mean 'stage2'"):
        classifier.layer("stagge2")


def test_probability_does_not_depend_on_the_batch_size():
    classifier = ResidualClassifier(num_classes=5, width=16)
    x = images(33, 3, 64, 64)
    whole, ones = (BlackBox(classifier, MicroBatches(n)).probability(x) for n in (64, 1))
    torch.testing.assert_close(whole, ones, atol=1e-6, rtol=0)


def test_a_callable_has_no_white_box():
    classifier = CallableClassifier(function="tests.classifier.test_callable:brightness", num_classes=2)
    with pytest.raises(ValueError, match="black box: it has no logits"):
        view(classifier, "white_box", 4)


def test_log_odds_stay_finite():
    odds = log_odds(torch.tensor([0.0, 0.25, 1.0]))
    assert odds[0] < -16 and odds[2] > 16 and math.isclose(float(odds[1]), math.log(1 / 3), rel_tol=1e-6)
    assert bool(odds.isfinite().all())
