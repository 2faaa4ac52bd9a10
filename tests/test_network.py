"""What every trainable network shares, on the default classifier: precision, compiling, identity, initial weights."""

import pytest
import torch

from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.generator.base import Generator
from pomelo_lab.network import TrainableNetwork
from pomelo_lab.weights import save

X = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def tiny(**changes):
    return ResidualClassifier(**{"num_classes": 5, "width": 8, **changes})


def shaken(classifier, seed=0, sigma=0.05):
    """All weights moved at random, and batch norms that know the images."""
    rng = torch.Generator().manual_seed(seed)
    for parameter in classifier.network.parameters():
        parameter.add_(sigma * torch.randn(parameter.shape, generator=rng))
    classifier.network.train()(classifier.normalized(X))
    classifier.network.eval()
    return classifier


def largest(actual, expected):
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("precision", "limit"), [("bfloat16", 0.02), ("float16", 0.005)])
def test_lower_precision_is_as_close_as_documented(precision, limit, tmp_path):
    """Of the largest logit; measured 0.4 to 1.6 % (bfloat16) and 0.05 to 0.28 % (float16) at widths 8 and 32, 64
    pixels."""
    for seed in range(6):
        path = tmp_path / f"{seed}.safetensors"
        save(shaken(tiny(), seed).network, path, {})
        ours, low = tiny(weights=str(path)), tiny(weights=str(path), precision=precision)
        assert 0 < largest(low.logit(X), ours.logit(X)) < limit


def test_inputs_and_outputs_are_float32_at_any_precision():
    low = tiny(precision="bfloat16")
    assert {p.dtype for p in low.network.parameters()} == {torch.bfloat16} == {low.dtype}
    assert low.logit(X).dtype == low.probability(X).dtype == low.feature(X).dtype == torch.float32


def test_gradients_reach_the_image_at_any_precision():
    x = X.clone().requires_grad_()
    tiny(precision="bfloat16").logit(x)[:, 0].sum().backward()
    assert x.grad.dtype == torch.float32 and x.grad.abs().sum() > 0


def test_digest_follows_precision_and_weights_but_not_the_path(tmp_path):
    first = tiny()
    save(first.network, tmp_path / "a.safetensors", {})
    assert first.digest() == tiny(weights=str(tmp_path / "a.safetensors"), init_seed=9).digest()
    assert len({tiny(precision=p).digest() for p in ("float32", "bfloat16", "float16")}) == 3
    first.network.head.bias[0] += 1
    assert first.digest() != tiny().digest()


def test_hardware_decides_auto_and_the_identity_is_the_same_on_all(monkeypatch):
    digests = set()
    for has in (True, False):
        monkeypatch.setattr("pomelo_lab.network.has_bfloat16", lambda _, has=has: has)
        auto = tiny(precision="auto").to("cpu").to("cpu")
        assert next(auto.network.parameters()).dtype == (torch.bfloat16 if has else torch.float32) == auto.dtype
        assert auto.logit(X).dtype == torch.float32 and largest(auto.logit(X), tiny().logit(X)) < 0.02
        digests.add(auto.digest())
        next(auto.network.parameters()).mul_(2)
        assert auto.digest() not in digests  # other weights, as the sanity check draws them
    assert len(digests) == 1


def test_networks_are_ready_to_answer():
    classifier = tiny(precision="bfloat16")
    assert not classifier.network.training and not any(p.requires_grad for p in classifier.network.parameters())
    assert classifier.network.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("wrong", ["auto", "nowhere.pth"])
def test_the_role_is_in_the_message(wrong):
    with pytest.raises(ValueError, match="^classifier.weights"):
        tiny(weights=wrong)


@pytest.mark.parametrize("role", [TrainableNetwork, Generator])
def test_roles_are_no_components(role):
    with pytest.raises(TypeError, match="abstract"):
        role()


def test_wrong_precision_is_refused():
    with pytest.raises(ValueError, match="classifier.precision"):
        tiny(precision="float8")
