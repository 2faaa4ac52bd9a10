import pytest
import torch
from torch import nn

from pomelo_lab.explainer.integrated_gradients import IntegratedGradientsExplainer
from tests.explainer.gradients import assert_each_image_alone, rectified
from tests.explainer.networks import Body, classifier
from tests.explainer.removing import TARGET, black, explained
from tests.tiny import ConstantFiller, TinyLinear, tiny_batch

captum = pytest.importorskip("captum.attr")


def explainer(**options):
    return IntegratedGradientsExplainer(**{"sampler": black(), **options})


@pytest.mark.parametrize("method", ["gausslegendre", "riemann_trapezoid"])
def test_captum(method):
    classifier, batch = rectified(), tiny_batch(3)
    explanation, _ = explained(explainer(method=method, n_steps=20, most_steps=20), batch, classifier=classifier)
    expected = captum.IntegratedGradients(classifier.logit).attribute(
        batch.image, batch.image * 0, target=TARGET, n_steps=20, method=method
    )
    torch.testing.assert_close(explanation.attribution, expected.sum(1).float(), atol=1e-5, rtol=0)


def test_complete_and_by_hand_on_a_linear_network():
    classifier, batch = TinyLinear.random(3, (3, 8, 8)), tiny_batch(3)
    explanation, _ = explained(explainer(sampler=ConstantFiller(value=0.3), n_steps=4), batch, classifier=classifier)
    torch.testing.assert_close(
        explanation.attribution, (classifier.weight[TARGET] * (batch.image - 0.3)).sum(1), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(explanation.extra["total"], explanation.extra["difference"], atol=1e-4, rtol=0)
    rough, _ = explained(explainer(n_steps=200), batch, classifier=rectified())
    torch.testing.assert_close(rough.extra["total"], rough.extra["difference"], atol=1e-3, rtol=0)
    assert float(rough.extra["difference"].abs().max()) > 0.01


def test_images_that_miss_the_sum_get_more_steps_until_they_do_not():
    network, batch = classifier(Body(nn.ReLU6())), tiny_batch(3)

    def gaps(**options):
        made, box = explained(explainer(**options), batch, classifier=network)
        return (made.extra["total"] / made.extra["difference"] - 1).abs(), box.queries, made.attribution

    few, queries, rough = gaps(n_steps=3, most_steps=3)
    assert (few > 0.02).any() and queries == 3 * (3 + 2)
    gap, queries, fine = gaps(n_steps=3, most_steps=800)
    assert (gap <= 0.02).all() and queries > 3 * (3 + 2)
    assert all(torch.equal(rough[i], fine[i]) == bool(few[i] <= 0.02) for i in range(3))
    stopped, queries, _ = gaps(n_steps=3, most_steps=12, gap=0.0)
    assert (stopped > 0).all() and queries == 3 * (3 + 6 + 12 + 2)


def test_the_plan_counts_every_doubling():
    """An image that never reaches the gap costs what the plan says: 3 + 6 + 12 and both ends."""
    made = explainer(n_steps=3, most_steps=12, gap=0.0)
    _, box = explained(made, tiny_batch(3), classifier=classifier(Body(nn.ReLU6())))
    assert box.queries == 3 * made.cost((3, 8, 8)).queries
    assert explainer().cost((3, 8, 8)).queries == 50 + 100 + 200 + 400 + 800 + 2
    assert explainer(most_steps=50).cost((3, 8, 8)).queries == 50 + 2


def test_probabilities_and_channels():
    classifier, batch = rectified(), tiny_batch(3)
    explanation, _ = explained(
        explainer(answer="probability", channels="sum_abs", most_steps=50), batch, classifier=classifier
    )
    expected = captum.IntegratedGradients(classifier.probability).attribute(batch.image, batch.image * 0, target=TARGET)
    torch.testing.assert_close(explanation.attribution, expected.abs().sum(1).float(), atol=1e-5, rtol=0)


def test_alone_and_in_any_batch():
    assert_each_image_alone(lambda: explainer(n_steps=5))
