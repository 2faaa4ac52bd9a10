import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pomelo_lab.explainer.deep_lift import DeepLiftExplainer, RescaleRules
from pomelo_lab.explainer.operators import run_by
from tests.explainer.gradients import Functional, Reused, TinyNetwork, assert_each_image_alone, rectified
from tests.explainer.networks import ACTIVATIONS, FUNCTIONS, SWISHES, Attention, Body, Gate, LastNorm, classifier
from tests.explainer.removing import TARGET, black, explained
from tests.tiny import ConstantFiller, TinyLinear, tiny_batch

captum = pytest.importorskip("captum.attr")


def explainer(**options):
    return DeepLiftExplainer(**{"sampler": black(), **options})


def assert_complete(network):
    """The map sums up to the difference of the logits, in float64 but for the float32 of what is stored; and the
    difference is no small number."""
    made, _ = explained(explainer(), tiny_batch(3), classifier=network)
    torch.testing.assert_close(made.extra["total"], made.extra["difference"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made.attribution.sum((1, 2)), made.extra["difference"], atol=1e-5, rtol=1e-5)
    assert float(made.extra["difference"].abs().min()) > 1e-4
    return made.attribution


def test_captum_on_relu_modules():
    network, batch = rectified(), tiny_batch(3)
    made, _ = explained(explainer(), batch, classifier=network)
    expected = captum.DeepLift(network.network).attribute(batch.image.double(), batch.image.double() * 0, target=TARGET)
    torch.testing.assert_close(made.attribution, expected.sum(1).float(), atol=1e-5, rtol=0)
    assert_complete(network)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name in ("relu", "leaky_relu", "elu", "softplus")])
def test_captum_on_the_activations_that_it_knows(name):
    network, batch = classifier(Body(ACTIVATIONS[name](), ACTIVATIONS[name]())), tiny_batch(3)
    made, _ = explained(explainer(), batch, classifier=network)
    expected = captum.DeepLift(network.network).attribute(batch.image.double(), batch.image.double() * 0, target=TARGET)
    torch.testing.assert_close(made.attribution, expected.sum(1).float(), atol=1e-5, rtol=0)


def test_rescale_rule_by_hand():
    """x -> W x -> ReLU6 -> v: differences of the units, each shared by its inputs in proportion."""
    network, batch = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU6(), nn.Linear(16, 3)), tiny_batch(3)
    network[1].weight.data *= 20
    made, _ = explained(explainer(), batch, classifier=TinyNetwork(made=network))
    x = batch.image.double().flatten(1)
    inner, base = network[1](x), network[1](0 * x)
    assert (inner > 6).any() and (inner < 0).any()
    slope = (inner.clamp(0, 6) - base.clamp(0, 6)) / (inner - base)
    expected = ((slope * network[3].weight[TARGET]) @ network[1].weight * x).view(3, 3, 8, 8).sum(1)
    torch.testing.assert_close(made.attribution, expected.detach().float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_complete_on_every_activation(name):
    assert_complete(classifier(Body(ACTIVATIONS[name](), ACTIVATIONS[name]())))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_modules(name):
    by_function = assert_complete(classifier(Body(FUNCTIONS[name])))
    act = ACTIVATIONS["relu" if name == "clamp" else name]
    torch.testing.assert_close(by_function, assert_complete(classifier(Body(act(), act()))), atol=1e-6, rtol=0)


def test_one_module_twice_and_in_place_are_modules_of_their_own():
    own = assert_complete(classifier(Body(nn.ReLU6(), nn.ReLU6())))
    for first in (nn.ReLU6(), nn.ReLU6(inplace=True)):
        torch.testing.assert_close(assert_complete(classifier(Body(first))), own, atol=1e-6, rtol=0)
    for network in (Functional(), Reused()):
        assert_complete(TinyNetwork(made=network))


@pytest.mark.parametrize(
    "gate",
    [
        Gate(nn.Sigmoid()),
        Gate(torch.sigmoid),
        Gate(nn.Hardsigmoid()),
        Gate(F.hardsigmoid),
        Gate(nn.Tanh()),
        Gate(nn.Sigmoid(), "divide"),
    ],
)
def test_gates_keep_the_sum(gate):
    assert_complete(classifier(Body(nn.SiLU(), gate=gate)))


def test_a_product_is_divided_evenly():
    """f(a, b) = a b from (a0, b0): the Shapley values of two players."""
    image, baseline = torch.tensor([[[[3.0]], [[5.0]]]]), torch.tensor([[[[1.0]], [[2.0]]]])

    class Product(nn.Module):
        def forward(self, x):
            return x[:, 0] * x[:, 1]

    both = torch.cat([image, baseline]).requires_grad_(True)
    (slope,) = torch.autograd.grad(run_by(RescaleRules(), Product(), both)[:1].sum(), both)
    share = (slope[:1] * (image - baseline)).flatten().tolist()
    assert share == [2 * (5 + 2) / 2, 3 * (3 + 1) / 2] and sum(share) == 3 * 5 - 1 * 2


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AdaptiveMaxPool2d(3), lambda x: F.max_pool2d(x, 3, 1, 1)]
)
def test_max_pooling_keeps_the_sum_where_windows_overlap_too(pool):
    assert_complete(classifier(Body(nn.ReLU(), gate=pool)))


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (Body(nn.ReLU(), gate=LastNorm()), r"gate.norm \(LayerNorm\) calls native_layer_norm"),
        (Attention(), r"attention \(MultiheadAttention\) calls"),
        (Body(nn.ReLU(), gate=nn.GroupNorm(2, 6)), r"gate \(GroupNorm\) calls native_group_norm"),
        (Body(nn.ReLU(), gate=nn.Softmax(1)), r"gate \(Softmax\) calls _softmax"),
    ],
)
def test_what_has_no_rule_is_refused(network, named):
    with pytest.raises(ValueError, match=named):
        explained(explainer(), classifier=classifier(network))


def test_probabilities_have_no_rule():
    with pytest.raises(ValueError, match="the answer, behind the network's last module, calls _softmax"):
        explained(explainer(answer="probability"), classifier=rectified())


def test_linear_network():
    network, batch = TinyLinear.random(3, (3, 8, 8)), tiny_batch(3)
    made, _ = explained(explainer(sampler=ConstantFiller(value=0.3)), batch, classifier=network)
    torch.testing.assert_close(
        made.attribution, (network.weight[TARGET] * (batch.image - 0.3)).sum(1), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", SWISHES)
def test_silu_written_out_is_silu(name):
    made, silu = (
        explained(explainer(), classifier=classifier(Body(act)))[0].attribution for act in (SWISHES[name], nn.SiLU())
    )
    torch.testing.assert_close(made, silu, atol=1e-6, rtol=0)


def test_alone_and_in_any_batch():
    assert_each_image_alone(explainer)
