"""Weights files: round trip, and refusal of what does not fit."""

import pytest
import torch

from pomelo_lab import files, weights
from pomelo_lab.classifier.residual import ResidualClassifier


def small(**changes):
    return ResidualClassifier(**{"num_classes": 3, "width": 4, **changes})


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "wrapped.pt"])
def test_round_trip(tmp_path, name):
    source, path = small(init_seed=7), tmp_path / name
    state = source.network.state_dict()
    if path.suffix == ".safetensors":
        card = weights.save(source.network, path, {"steps": 1})
        assert files.read_json(path.with_suffix(".json")) == card
    else:
        torch.save(
            {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3} if "wrapped" in name else state,
            path,
        )
    loaded, x = small(weights=str(path)), torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.logit(x), source.logit(x))
    assert loaded.digest() == source.digest() != small().digest()


def test_another_architecture_is_refused_with_the_first_names_that_differ(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save(small().network, path, {})
    with pytest.raises(ValueError) as error:
        small(num_classes=5, depth=2, weights=str(path))
    text = str(error.value)
    assert text.startswith(f"classifier.weights: {path} does not fit ResidualClassifier(num_classes=5")
    assert "head.weight is [3, 16], expected [5, 16]" in text and "missing: stage1.1.conv1.weight" in text


def test_a_file_that_is_missing_or_no_weights_is_named(tmp_path):
    with pytest.raises(ValueError, match="classifier.weights: there is no file"):
        small(weights=str(tmp_path / "none.safetensors"))
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="classifier.weights: .*bad.pth cannot be read"):
        small(weights=str(tmp_path / "bad.pth"))


def test_pickled_code_is_not_run(tmp_path):
    torch.save(small().network, tmp_path / "whole.pt")
    with pytest.raises(ValueError, match="cannot be read as a safetensors file or a plain state dict"):
        small(weights=str(tmp_path / "whole.pt"))


def test_nothing_is_left_of_a_write_that_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(files.os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        weights.save(small().network, tmp_path / "w.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_those_of_their_card_are_not_loaded(tmp_path):
    path = tmp_path / weights.FILE
    weights.save(small().network, path, {})
    data = bytearray(path.read_bytes())
    data[-9] ^= 64
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=r"classifier\.weights: .*weights\.safetensors is damaged .*[Tt]rain them again"
    ):
        small(weights=str(path))
    (tmp_path / "x.json").write_text("not a card")
    weights.save(small().network, tmp_path / "y.safetensors", {})
    (tmp_path / "y.safetensors").rename(tmp_path / "x.safetensors")
    assert small(weights=str(tmp_path / "x.safetensors")).num_classes == 3


def test_weights_that_are_nan_and_pickled_objects_are_refused_in_our_words(tmp_path):
    network = small().network
    state = network.state_dict()
    name = next(iter(state))
    state[name].fill_(torch.nan)
    torch.save(state, tmp_path / "diverged.pth")
    with pytest.raises(
        ValueError,
        match=rf"classifier\.weights: .*diverged\.pth does not fit .*not a number \(NaN\): "
        rf"{name}",
    ):
        small(weights=str(tmp_path / "diverged.pth"))
    torch.save(network, tmp_path / "whole.pth")
    with pytest.raises(ValueError, match="damaged or holds Python objects, which are not unpickled") as error:
        small(weights=str(tmp_path / "whole.pth"))
    assert "weights_only" not in str(error.value)
