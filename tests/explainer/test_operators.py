"""Operators under rules: what is seen, what is refused, and that the numbers of the forward are the network's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pomelo_lab.explainer.deep_lift import RescaleRules
from pomelo_lab.explainer.operators import Call, Refused, Rules, run_by
from tests.explainer.networks import ACTIVATIONS, Attention, Body, Gate, LastNorm


class Plain(Rules):
    """Every operator with its own gradient; notes what is called."""

    method = "Plain"

    def __init__(self):
        self.names = []

    def answer(self, call: Call):
        self.names.append(call.name)
        return call.plain()


class InPlace(nn.Module):
    """Rectifies a tensor, and then a view of it, in place; with `late`, the base is read afterwards."""

    def __init__(self, late):
        super().__init__()
        self.late = late

    def forward(self, x):
        x = F.relu_(x * 2 - 1)
        view = x.flatten(1)
        view.add_(x.flatten(1).sigmoid()) if not self.late else view.sub_(0.5).relu_()
        return x.flatten(1) + view if self.late else view


@pytest.mark.parametrize(
    "make",
    [lambda: Body(nn.SiLU(), gate=Gate(nn.Sigmoid())), lambda: Body(nn.ReLU(inplace=True), gate=LastNorm()), Attention],
)
def test_plain_rules_are_the_network_and_its_gradient(make):
    network = make().double().eval()
    image, direct = (
        torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double().requires_grad_(True)
        for _ in range(2)
    )
    output, expected = run_by(Plain(), network, image), network(direct)
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)
    weight = torch.randn_like(expected)
    (here,), (there,) = (
        torch.autograd.grad((answer * weight).sum(), x) for answer, x in ((output, image), (expected, direct))
    )
    torch.testing.assert_close(here, there, atol=1e-12, rtol=0)


def test_activations_are_seen_whoever_calls_them():
    for first, second in (
        (nn.ReLU(), None),
        (F.relu, nn.ReLU(inplace=True)),
        (torch.relu, F.relu_),
        (torch.Tensor.relu, torch.relu_),
    ):
        rules = Plain()
        run_by(rules, Body(first, second), torch.rand(1, 3, 8, 8))
        assert rules.names.count("relu") == 2


def test_what_works_in_place_is_done_out_of_place():
    image = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(run_by(Plain(), InPlace(late=False), image), InPlace(late=False)(image))
    with pytest.raises(Refused, match="view of a tensor that was changed in place"):
        run_by(Plain(), InPlace(late=True), image)


def test_the_module_without_a_rule_is_named():
    with pytest.raises(
        ValueError,
        match=r"DeepLiftExplainer has no rule for this network: gate.norm \(LayerNorm\) "
        r"calls native_layer_norm",
    ):
        run_by(RescaleRules(), Body(nn.ReLU(), gate=LastNorm()), torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"attention \(MultiheadAttention\) calls (bmm|_softmax|_scaled_dot)"):
        run_by(RescaleRules(), Attention(), torch.rand(2, 3, 8, 8))


class Divided(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, x):
        return torch.div(x.flatten(1), 0.3, rounding_mode=self.mode)


def test_a_division_that_rounds_is_not_linear():
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(run_by(RescaleRules(), Divided(None), image), image.flatten(1) / 0.3)
    for mode in ("floor", "trunc"):
        with pytest.raises(Refused, match="calls div, which neither the linear nor the rescale rule covers"):
            run_by(RescaleRules(), Divided(mode), image)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_one_operator_of_a_single_value(name):
    calls = []

    class Note(Plain):
        def answer(self, call):
            calls.append(call)
            return super().answer(call)

    run_by(Note(), nn.Sequential(ACTIVATIONS[name]()), torch.randn(1, 3, 8, 8))
    (call,) = [call for call in calls if not call.linear]
    assert call.elementwise
