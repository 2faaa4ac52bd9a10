import pytest
import torch

from pomelo_lab.explainer.saliency import SaliencyExplainer
from tests.explainer.gradients import assert_each_image_alone, rectified
from tests.explainer.removing import TARGET, explained
from tests.tiny import tiny_batch

captum = pytest.importorskip("captum.attr")


def test_captum_and_channels():
    classifier, batch = rectified(), tiny_batch(3)
    expected = captum.Saliency(classifier.logit).attribute(batch.image, target=TARGET, abs=False)
    for channels, wanted in {
        "max_abs": expected.abs().amax(1),
        "sum": expected.sum(1),
        "sum_abs": expected.abs().sum(1),
    }.items():
        explanation, _ = explained(SaliencyExplainer(channels=channels), batch, classifier=classifier)
        torch.testing.assert_close(explanation.attribution, wanted.float(), atol=1e-6, rtol=0)


def test_alone_and_in_any_batch():
    assert_each_image_alone(SaliencyExplainer)
