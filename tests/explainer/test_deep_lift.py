import pytest
import torch

from pomelo_lab.explainer.deep_lift import DeepLiftExplainer
from tests.explainer.gradients import Functional, Reused, TinyNetwork, assert_each_image_alone, rectified
from tests.explainer.removing import TARGET, black, explained
from tests.tiny import ConstantFiller, TinyLinear, tiny_batch

captum = pytest.importorskip("captum.attr")


def explainer(**options):
    return DeepLiftExplainer(**{"sampler": black(), **options})


def test_captum_and_completeness():
    classifier, batch = rectified(), tiny_batch(3)
    found, _ = explained(explainer(), batch, classifier=classifier)
    expected = captum.DeepLift(classifier.network).attribute(batch.image.double(), batch.image.double() * 0, target=TARGET)
    torch.testing.assert_close(found.attribution, expected.sum(1).float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.extra["total"], found.extra["difference"], atol=1e-4, rtol=0)


def test_linear_network():
    classifier, batch = TinyLinear.random(3, (3, 8, 8)), tiny_batch(3)
    found, _ = explained(explainer(sampler=ConstantFiller(value=0.3)), batch, classifier=classifier)
    torch.testing.assert_close(found.attribution, (classifier.weight[TARGET] * (batch.image - 0.3)).sum(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (Functional(), "calls relu 1 times as a function.*use nn.ReLU"),
        (Reused(), "uses act more than once"),
    ],
)
def test_networks_whose_non_linearities_hooks_would_miss(network, named):
    classifier = TinyNetwork(made=network)
    with pytest.raises(ValueError, match=named):
        explained(explainer(), classifier=classifier)


def test_alone_and_in_any_batch():
    assert_each_image_alone(explainer)
