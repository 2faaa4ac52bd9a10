"""The plain network is another architecture than the residual one, with the same manners."""

import torch
from torch import nn

from pomelo_lab.classifier.plain import PlainClassifier


def test_no_layer_is_skipped():
    network = PlainClassifier(num_classes=6, width=4).network
    assert isinstance(network, nn.Sequential) and all(not hasattr(m, "shortcut") for m in network.modules())


def test_shapes_and_feature():
    classifier = PlainClassifier(num_classes=6, width=4, depth=3, hidden=10, output="sigmoid")
    x = torch.rand(2, 3, 64, 64)
    assert classifier.probability(x).shape == (2, 6) and classifier.feature(x).shape == (2, 10)
    assert classifier.logit(torch.rand(2, 3, 16, 16)).shape == (2, 6)
    torch.testing.assert_close(classifier.head(classifier.feature(x)), classifier.logit(x))


def test_default_is_below_three_megabytes():
    network = PlainClassifier(num_classes=40).network
    assert sum(t.numel() * t.element_size() for t in network.state_dict().values()) < 3_000_000
