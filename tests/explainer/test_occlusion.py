import pytest
import torch

from pomelo_lab.explainer.occlusion import OcclusionExplainer
from tests.explainer.gradients import assert_each_image_alone, rectified
from tests.explainer.removing import TARGET, black, explained
from tests.tiny import tiny_batch

captum = pytest.importorskip("captum.attr")


def explainer(**options):
    return OcclusionExplainer(**{"sampler": black(), "window_px": 3, "stride_px": 2, **options})


def test_captum_and_the_number_of_queries():
    classifier, batch = rectified(), tiny_batch(3)
    explanation, box = explained(explainer(), batch, classifier=classifier)
    expected = captum.Occlusion(classifier.probability).attribute(
        batch.image, (3, 3, 3), (3, 2, 2), baselines=0, target=TARGET
    )
    torch.testing.assert_close(explanation.attribution, expected[:, 0].float(), atol=1e-6, rtol=0)
    assert box.queries == 3 * explainer().cost((3, 8, 8)).queries


def test_one_window_per_pixel_by_hand():
    classifier, batch = rectified(), tiny_batch(3)
    explanation, _ = explained(explainer(window_px=4, stride_px=4), batch, classifier=classifier)
    without = batch.image.clone()
    without[:, :, :4, 4:] = 0
    lost = (classifier.probability(batch.image) - classifier.probability(without)).gather(1, TARGET[:, None])[:, 0]
    torch.testing.assert_close(explanation.attribution[:, 1, 6], lost.float(), atol=1e-6, rtol=0)


def test_gaps_are_refused():
    with pytest.raises(ValueError, match="stride_px must be <= window_px=3, got 4"):
        explainer(stride_px=4)


def test_alone_and_in_any_batch():
    assert_each_image_alone(explainer)
