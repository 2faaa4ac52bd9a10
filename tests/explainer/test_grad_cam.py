import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pomelo_lab.explainer.grad_cam import GradCamExplainer
from tests.explainer.gradients import TinyNetwork, assert_each_image_alone, rectified
from tests.explainer.removing import TARGET, explained
from tests.tiny import TinyLinear, tiny_batch


@pytest.mark.parametrize(("layer", "end"), [("1", 2), ("3", 4), (None, 5)])
def test_weighted_maps_by_hand(layer, end):
    classifier, batch = rectified(), tiny_batch(3)
    found, _ = explained(GradCamExplainer(layer=layer), batch, classifier=classifier)
    maps = classifier.network[:end](batch.image.double()).requires_grad_(True)
    answer = classifier.network[end:](maps).gather(1, TARGET[:, None]).sum()
    weight = torch.autograd.grad(answer, maps)[0].mean((2, 3), keepdim=True)
    expected = F.interpolate((weight * maps).sum(1, keepdim=True).clamp_min(0), (8, 8), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(found.attribution, expected.detach().float(), atol=1e-5, rtol=0)
    assert not GradCamExplainer().signed


def test_no_layer_with_a_map_and_a_layer_that_does_not_exist():
    with pytest.raises(ValueError, match="no layer of the network gives maps"):
        explained(GradCamExplainer(), classifier=TinyLinear.random(3, (3, 8, 8)))
    with pytest.raises(ValueError, match="layer '33' does not exist.*did you mean.*3"):
        explained(GradCamExplainer(layer="33"), classifier=rectified())


def test_global_pooling_is_not_taken_for_a_map():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    classifier = TinyNetwork(made=network)
    found, _ = explained(GradCamExplainer(), classifier=classifier)
    named, _ = explained(GradCamExplainer(layer="0"), classifier=classifier)
    assert torch.equal(found.attribution, named.attribution)


def test_alone_and_in_any_batch():
    assert_each_image_alone(GradCamExplainer)
