import pytest
import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.smooth_grad import SmoothGradExplainer
from tests.explainer.gradients import assert_each_image_alone, rectified
from tests.explainer.removing import TARGET, explained
from tests.tiny import TinyLinear, tiny_batch

captum = pytest.importorskip("captum.attr")


def test_mean_of_captum_s_gradients_on_the_noisy_images():
    classifier, batch = rectified(), tiny_batch(3)
    explanation, box = explained(SmoothGradExplainer(n_draws=4, sigma=0.3), batch, classifier=classifier, seed=5)
    noise = RandomStreams(5).normal(batch.image_id, "smooth_grad", 4, 3, 8, 8)
    saliency = captum.Saliency(classifier.logit)
    expected = torch.stack(
        [saliency.attribute(batch.image + 0.3 * noise[:, k], target=TARGET, abs=False) for k in range(4)]
    ).mean(0)
    torch.testing.assert_close(explanation.attribution, expected.abs().sum(1).float(), atol=1e-6, rtol=0)
    assert box.queries == 12


def test_a_linear_network_has_the_same_gradient_everywhere():
    classifier = TinyLinear.random(3, (3, 8, 8))
    explanation, _ = explained(SmoothGradExplainer(n_draws=3), classifier=classifier)
    torch.testing.assert_close(explanation.attribution, classifier.weight[TARGET].abs().sum(1), atol=1e-5, rtol=0)


def test_alone_and_in_any_batch():
    assert_each_image_alone(lambda: SmoothGradExplainer(n_draws=4))
