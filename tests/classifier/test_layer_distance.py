import torch

from pomelo_lab.classifier.layer_distance import layer_distance
from tests.explainer.gradients import rectified
from tests.tiny import tiny_image


def test_distance_by_hand():
    network, image, other = rectified(), tiny_image(2), tiny_image(2, seed=1)
    a, b = (network.network[0](x.double()).float() for x in (image, other))
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    torch.testing.assert_close(layer_distance(network, ["0"], image, other), (a - b).square().sum(1).mean((1, 2)), atol=1e-5, rtol=0)
