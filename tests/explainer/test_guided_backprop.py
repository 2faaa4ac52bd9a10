from dataclasses import replace

import pytest
import torch
from torch import nn

from pomelo_lab.explainer.guided_backprop import GuidedBackpropExplainer
from tests.explainer.gradients import Functional, Reused, TinyNetwork, assert_each_image_alone, rectified
from tests.explainer.removing import TARGET, explained
from tests.tiny import tiny_batch

captum = pytest.importorskip("captum.attr")


def test_captum():
    classifier, batch = rectified(), tiny_batch(3)
    found, _ = explained(GuidedBackpropExplainer(channels="sum"), batch, classifier=classifier)
    expected = captum.GuidedBackprop(classifier.network).attribute(batch.image.double(), target=TARGET)
    torch.testing.assert_close(found.attribution, expected.sum(1).float(), atol=1e-5, rtol=0)


def test_only_positive_parts_pass_back():
    """By hand: x -> W x -> ReLU -> v: sum over units of max(v, 0) W where the unit is active."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 3))
    classifier, batch = TinyNetwork(made=network), tiny_batch(3)
    found, _ = explained(GuidedBackpropExplainer(channels="sum"), batch, classifier=classifier)
    active = (network[1](batch.image.double().flatten(1)) > 0).double()
    expected = ((active * network[3].weight[TARGET].clamp_min(0)) @ network[1].weight).view(3, 3, 8, 8).sum(1)
    torch.testing.assert_close(found.attribution, expected.float(), atol=1e-6, rtol=0)


def test_maps_are_magnitudes_unless_asked_otherwise():
    """Negating an input channel's weights turns the gradient's sign, and leaves the map as it is."""
    classifier, turned, batch = rectified(), rectified(), tiny_batch(3)
    turned.network[0].weight.data[:, :2] *= -1
    other = replace(batch, image=batch.image * torch.tensor([-1.0, -1.0, 1.0])[:, None, None])
    there, _ = explained(GuidedBackpropExplainer(), other, classifier=turned)
    here, _ = explained(GuidedBackpropExplainer(), batch, classifier=classifier)
    torch.testing.assert_close(here.attribution, there.attribution, atol=1e-6, rtol=0)
    assert (here.attribution >= 0).all() and not GuidedBackpropExplainer().signed and GuidedBackpropExplainer(channels="sum").signed


def test_functions_are_refused_and_shared_modules_are_seen():
    with pytest.raises(ValueError, match="calls relu 1 times as a function"):
        explained(GuidedBackpropExplainer(), classifier=TinyNetwork(made=Functional()))
    explained(GuidedBackpropExplainer(), classifier=TinyNetwork(made=Reused()))


def test_alone_and_in_any_batch():
    assert_each_image_alone(GuidedBackpropExplainer)
