import torch

from pomelo_lab.batching import RandomStreams
from pomelo_lab.explainer.gradient import gradient
from pomelo_lab.explainer.gradient_shap import GradientShapExplainer
from tests.explainer.gradients import assert_each_image_alone, rectified
from tests.explainer.removing import TARGET, black, explained
from tests.tiny import ConstantFiller, TinyLinear, tiny_batch


def explainer(**options):
    return GradientShapExplainer(**{"sampler": black(), "n_draws": 6, **options})


def test_linear_network_is_exact_and_complete():
    classifier, batch = TinyLinear.random(3, (3, 8, 8)), tiny_batch(3)
    explanation, _ = explained(explainer(sampler=ConstantFiller(value=0.3)), batch, classifier=classifier)
    torch.testing.assert_close(
        explanation.attribution, (classifier.weight[TARGET] * (batch.image - 0.3)).sum(1), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(explanation.extra["total"], explanation.extra["difference"], atol=1e-4, rtol=0)


def test_points_and_way_by_hand():
    classifier, batch, streams = rectified(), tiny_batch(3), RandomStreams(0)
    explanation, _ = explained(explainer(sigma=0.2), batch, classifier=classifier)
    noise = streams.normal(batch.image_id, "gradient_shap.noise", 6, 3, 8, 8)
    share = streams.uniform(batch.image_id, "gradient_shap.share", 6, 1, 1, 1)
    way = batch.image[:, None] + 0.2 * noise  # from black
    expected = (
        torch.stack([gradient(classifier.logit, share[:, k] * way[:, k], TARGET) * way[:, k] for k in range(6)])
        .mean(0)
        .sum(1)
    )
    torch.testing.assert_close(explanation.attribution, expected.float(), atol=1e-5, rtol=0)


def test_alone_and_in_any_batch():
    assert_each_image_alone(lambda: explainer(sigma=0.1))
