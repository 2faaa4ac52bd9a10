from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pomelo_lab.explainer.guided_backprop import GuidedBackpropExplainer
from pomelo_lab.explainer.saliency import SaliencyExplainer
from tests.explainer.gradients import TinyNetwork, assert_each_image_alone, rectified
from tests.explainer.networks import ACTIVATIONS, FUNCTIONS, SWISHES, Attention, Body, classifier
from tests.explainer.removing import TARGET, explained
from tests.tiny import tiny_batch

captum = pytest.importorskip("captum.attr")


def test_captum():
    classifier, batch = rectified(), tiny_batch(3)
    explanation, _ = explained(GuidedBackpropExplainer(channels="sum"), batch, classifier=classifier)
    expected = captum.GuidedBackprop(classifier.network).attribute(batch.image.double(), target=TARGET)
    torch.testing.assert_close(explanation.attribution, expected.sum(1).float(), atol=1e-5, rtol=0)


def test_only_positive_parts_pass_back():
    """By hand: x -> W x -> ReLU -> v: sum over units of max(v, 0) W where the unit is active."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 3))
    classifier, batch = TinyNetwork(made=network), tiny_batch(3)
    explanation, _ = explained(GuidedBackpropExplainer(channels="sum"), batch, classifier=classifier)
    active = (network[1](batch.image.double().flatten(1)) > 0).double()
    expected = ((active * network[3].weight[TARGET].clamp_min(0)) @ network[1].weight).view(3, 3, 8, 8).sum(1)
    torch.testing.assert_close(explanation.attribution, expected.float(), atol=1e-6, rtol=0)


def test_maps_are_magnitudes_unless_asked_otherwise():
    """Negating an input channel's weights turns the gradient's sign, and leaves the map as it is."""
    classifier, turned, batch = rectified(), rectified(), tiny_batch(3)
    turned.network[0].weight.data[:, :2] *= -1
    other = replace(batch, image=batch.image * torch.tensor([-1.0, -1.0, 1.0])[:, None, None])
    there, _ = explained(GuidedBackpropExplainer(), other, classifier=turned)
    here, _ = explained(GuidedBackpropExplainer(), batch, classifier=classifier)
    torch.testing.assert_close(here.attribution, there.attribution, atol=1e-6, rtol=0)
    assert (here.attribution >= 0).all()


def by_hand(network, image, act, active):
    """Body with the rule written out: the derivative where the unit is active, times the positive part of what comes
    from above."""
    first = (network.conv1(image) * 4).detach().requires_grad_(True)
    second = network.conv2(act(first)).detach().requires_grad_(True)
    (above,) = torch.autograd.grad(
        network.head(F.adaptive_avg_pool2d(act(second), 2).flatten(1)).gather(1, TARGET[:, None]).sum(), second
    )
    # what reaches the activation
    masked = network.head.weight[TARGET].unflatten(1, (6, 2, 2)).repeat_interleave(4, 2).repeat_interleave(4, 3) / 16
    slope = torch.autograd.grad(act(second).sum(), second)[0]
    torch.testing.assert_close(above, masked * slope)
    down = F.conv_transpose2d(masked.clamp_min(0) * slope * active(second), network.conv2.weight, padding=1)
    slope = torch.autograd.grad(act(first).sum(), first)[0]
    return (
        F.conv_transpose2d(down.clamp_min(0) * slope * active(first), network.conv1.weight * 4, padding=1)
        .sum(1)
        .detach()
        .float()
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_way_of_calling_a_rectifier_by_hand(name):
    act, batch = FUNCTIONS[name], tiny_batch(3)
    module = ACTIVATIONS["relu" if name == "clamp" else name]
    bodies = [Body(act), Body(module()), Body(module(), module())]
    if name not in ("gelu", "clamp"):
        bodies.append(Body(module(inplace=True)))
    for body in bodies:
        network = classifier(body)
        made, _ = explained(GuidedBackpropExplainer(channels="sum"), batch, classifier=network)
        expected = by_hand(network.network, batch.image.double(), act, lambda x: (x > 0).double())
        torch.testing.assert_close(made.attribution, expected, atol=1e-6, rtol=1e-5)
        plain, _ = explained(SaliencyExplainer(channels="sum"), batch, classifier=network)
        assert float((made.attribution - plain.attribution).abs().max()) > 1e-3


def test_a_network_without_rectifiers_is_refused():
    for network in (nn.Tanh(), nn.Sigmoid()):
        with pytest.raises(
            ValueError, match="GuidedBackpropExplainer has no rule for this network: it calls no rectifier"
        ):
            explained(GuidedBackpropExplainer(), classifier=classifier(Body(network)))
    explained(GuidedBackpropExplainer(), classifier=classifier(Attention()))


@pytest.mark.parametrize(
    ("written", "act"),
    [
        (lambda x: torch.maximum(x, torch.zeros_like(x)), F.relu),
        (lambda x: torch.maximum(torch.tensor(0.0, dtype=x.dtype), x), F.relu),
        (lambda x: x.clamp(min=torch.zeros((), dtype=x.dtype)), F.relu),
        (lambda x: x.clamp(0, 6), F.relu6),
        (lambda x: torch.clip(x, 0.0, 6.0), F.relu6),
    ],
)
def test_rectifiers_written_out_are_rectifiers(written, act):
    made, known = (
        explained(GuidedBackpropExplainer(channels="sum"), classifier=classifier(Body(way)))[0].attribution
        for way in (written, act)
    )
    torch.testing.assert_close(made, known, atol=1e-6, rtol=0)
    plain = explained(SaliencyExplainer(channels="sum"), classifier=classifier(Body(act)))[0].attribution
    assert float((made - plain).abs().max()) > 1e-3


@pytest.mark.parametrize(
    "written",
    [
        lambda x: x * (x > 0),
        lambda x: (x > 0) * x,
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        lambda x: x.masked_fill(x < 0, 0.0),
    ],
)
def test_choices_by_a_comparison_are_refused(written):
    """Beside a ReLU, so that the network does not lack rectifiers."""
    with pytest.raises(
        ValueError, match="calls (mul|where|masked_fill) with a comparison of values that depend on the image"
    ):
        explained(GuidedBackpropExplainer(), classifier=classifier(Body(F.relu, written)))


@pytest.mark.parametrize("name", SWISHES)
def test_silu_written_out_is_silu(name):
    made, silu = (
        explained(GuidedBackpropExplainer(), classifier=classifier(Body(act)))[0].attribution
        for act in (SWISHES[name], nn.SiLU())
    )
    torch.testing.assert_close(made, silu, atol=1e-6, rtol=0)


def test_alone_and_in_any_batch():
    assert_each_image_alone(GuidedBackpropExplainer)
