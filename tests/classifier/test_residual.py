"""The default network: deterministic, small, and ready for attribution hooks."""

import pytest
import torch
from torch import nn

from pomelo_lab.classifier.residual import ResidualClassifier


def test_initial_weights_follow_init_seed_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = ResidualClassifier(num_classes=3, width=4)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert ResidualClassifier(num_classes=3, width=4).digest() == first.digest()
    assert ResidualClassifier(num_classes=3, width=4, init_seed=1).digest() != first.digest()


def test_default_is_below_three_megabytes():
    network = ResidualClassifier(num_classes=5).network
    assert sum(t.numel() * t.element_size() for t in network.state_dict().values()) < 3_000_000
    assert 300_000 < sum(p.numel() for p in network.parameters()) < 600_000


def test_every_relu_is_its_own_module_and_runs_once():
    classifier = ResidualClassifier(num_classes=5, width=4, depth=2)
    relus = [m for m in classifier.network.modules() if isinstance(m, nn.ReLU)]
    calls = []
    for relu in relus:
        relu.register_forward_hook(lambda module, *_: calls.append(id(module)))
    classifier.logit(torch.rand(1, 3, 64, 64))
    assert len(relus) == 1 + 3 * 2 * 2 and sorted(calls) == sorted(map(id, relus))
    assert not any(relu.inplace for relu in relus)


@pytest.mark.parametrize(("size", "channels"), [(64, 3), (16, 1), (50, 3)])
def test_any_size(size, channels):
    assert ResidualClassifier(num_classes=7, width=4, channels=channels).logit(
        torch.rand(2, channels, size, size)
    ).shape == (2, 7)


def test_scaling_is_inside():
    x = torch.rand(2, 3, 32, 32)
    ours, raw = (ResidualClassifier(num_classes=3, width=4, mean=m, std=s) for m, s in ((0.5, 0.25), (0.0, 1.0)))
    torch.testing.assert_close(ours.logit(x), raw.logit((x - 0.5) / 0.25))


def test_sigmoid_outputs_are_independent():
    softmax, sigmoid = (ResidualClassifier(num_classes=3, width=4, output=o) for o in ("softmax", "sigmoid"))
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(sigmoid.probability(x), softmax.logit(x).sigmoid())
    torch.testing.assert_close(softmax.probability(x).sum(-1), torch.ones(2))
    assert softmax.digest() != sigmoid.digest()


def test_parameters_are_frozen_and_gradients_reach_the_image():
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    classifier = ResidualClassifier(num_classes=3, width=4)
    classifier.logit(x)[0, 0].backward()
    assert x.grad.abs().sum() > 0 and all(p.grad is None for p in classifier.network.parameters())


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"num_classes": None}, "classifier.num_classes is missing"),
        ({"weights": "auto"}, "auto is for configs"),
        ({"width": 0}, "classifier.width must be >= 1"),
    ],
)
def test_wrong_arguments(wrong, text):
    with pytest.raises(ValueError, match=text):
        ResidualClassifier(**{"num_classes": 2, **wrong})
