"""Weights files: round trip, refusal, and finding the one that fits."""

import json
from pathlib import Path

import pytest
import torch

from pomelo_lab import files, weights
from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.config.entry import CONF, file_content
from pomelo_lab.config.signature import defaults, locate
from pomelo_lab.engine.components import is_network
from pomelo_lab.training.recipe import own_recipe

NODE = {"_target_": "pomelo_lab.classifier.residual.ResidualClassifier", "width": 4, "weights": "auto"}
DATA = {"_target_": "pomelo_lab.dataset.digits.Digits", "size_px": 16, "split": "test"}


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


def test_auto_finds_what_was_trained_for_the_same_thing(tmp_path):
    assert weights.resolve(NODE, DATA, tmp_path) is None
    path = tmp_path / "weights" / "residual_digits-1" / weights.FILE
    weights.save(small().network, path, {"component": NODE, "dataset": DATA})
    assert weights.resolve(NODE, {**DATA, "split": "val"}, tmp_path) == path
    assert weights.resolve({**NODE, "weights": None}, DATA, tmp_path) == path
    assert weights.resolve({**NODE, "width": 8}, DATA, tmp_path) is None
    assert weights.resolve(NODE, {**DATA, "size_px": 32}, tmp_path) is None
    weights.save(
        small().network, tmp_path / "weights" / "residual_digits-2" / weights.FILE, {"component": NODE, "dataset": DATA}
    )
    with pytest.raises(ValueError, match="2 trainings fit; name one"):
        weights.resolve(NODE, DATA, tmp_path)


def test_weights_of_another_recipe_are_named_and_not_used(tmp_path, caplog):
    """A ResNet-18 of the default recipe passed for that of POMELO's experiment.

    What only concerns speed or arithmetic does not count.
    """
    weights.say_once.cache_clear()
    default, pomelo = own_recipe(NODE), own_recipe({**NODE, "recipe": "pomelo"})
    path = tmp_path / "weights" / "residual_digits-1" / weights.FILE
    weights.save(
        small().network,
        path,
        {"component": NODE, "dataset": DATA, "recipe": {**default, "n_workers": 3, "precision": "bf16-mixed"}},
    )
    assert weights.resolve(NODE, DATA, tmp_path) == path and not caplog.text
    assert weights.resolve({**NODE, "recipe": "pomelo"}, DATA, tmp_path) is None
    assert (
        f"{path} was trained by another recipe (batch_size={default['batch_size']}, not {pomelo['batch_size']}"
        in caplog.text
    )
    other = tmp_path / "weights" / "residual_digits-2" / weights.FILE
    weights.save(small().network, other, {"component": NODE, "dataset": DATA, "recipe": {**pomelo, "cache_gb": 0.5}})
    assert (
        weights.resolve({**NODE, "recipe": "pomelo"}, DATA, tmp_path) == other
        and weights.resolve(NODE, DATA, tmp_path) == path
    )
    # the same but for its arithmetic: what the recipe asks for is taken
    asked = tmp_path / "weights" / "residual_digits-3" / weights.FILE
    weights.save(small().network, asked, {"component": NODE, "dataset": DATA, "recipe": default})
    assert weights.resolve(NODE, DATA, tmp_path) == asked


def test_a_shortened_training_stands_in_until_the_whole_one_exists(tmp_path):
    """A classifier that was trained in full is the one that scale=smoke explains, too; a shortened one never serves
    another scale."""
    short = {**NODE, "recipe": "default:short"}
    for name, node in (("short", short), ("whole", NODE)):
        path = tmp_path / "weights" / f"residual_digits-{name}" / weights.FILE
        weights.save(small().network, path, {"component": node, "dataset": DATA, "recipe": own_recipe(node)})
        assert weights.resolve(short, DATA, tmp_path) == path
        assert weights.resolve(NODE, DATA, tmp_path) == (path if name == "whole" else None)
    assert weights.resolve({**NODE, "recipe": "pomelo:short"}, DATA, tmp_path) is None


TRAINED = [path for group in ("classifier", "generator") for path in sorted(Path(CONF, group).glob("*.yaml"))]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_a_restated_default_is_the_same_network(path):
    """Whatever a component's yaml says is said by leaving it out, where its constructor has it; what the data say may
    be said, too."""
    node = file_content(f"{path.parent.name}/{path.stem}")
    if not is_network(node):
        pytest.skip("no trained network, or another file with changes")
    data = {"_target_": "pomelo_lab.dataset.portraits.Portraits"}
    # portraits have attributes
    node |= {"output": "sigmoid"} if str(node.get("output")).startswith("${outputs_of") else {}
    said, known = weights.trains(node, data), defaults(locate(node["_target_"]))
    for key in [key for key in node if key in known and node[key] == known[key]]:
        assert weights.trains({name: value for name, value in node.items() if name != key}, data) == said, key
    images = weights.training_images(weights.training_data(node, data))
    n_outputs = len(images.attribute_names) if node.get("output") == "sigmoid" else images.num_classes
    for key, value in {"num_classes": n_outputs, "channels": 3, "size_px": 64}.items():
        if key in known and node.get(key, 0) is None:
            assert weights.trains({**node, key: value}, data) == said, key


def pictures(root, seed):
    """An image folder with uncompressed images of one size."""
    import numpy as np
    from PIL import Image

    for split in ("train", "val", "test"):
        for name in "ab":
            (root / split / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng((seed, ord(name))).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / name / "0.bmp")
    return {
        "_target_": "pomelo_lab.dataset.image_folder.ImageFolder",
        "root": str(root),
        "size_px": 16,
        "split": "test",
    }


def test_weights_belong_to_the_images_that_they_were_trained_on(tmp_path, caplog):
    cats, birds = pictures(tmp_path / "cats", 1), pictures(tmp_path / "birds", 2)
    path = tmp_path / "weights" / "residual_image_folder-1" / weights.FILE
    about = {"component": NODE, "dataset": cats, "dataset_digest": weights.training_digest(NODE, cats)}
    weights.save(small(num_classes=2).network, path, about)
    assert weights.resolve(NODE, cats, tmp_path) == path and not caplog.text
    assert weights.resolve(NODE, birds, tmp_path) is None and f"{path} was trained on other images" in caplog.text
    assert weights.resolve(NODE, pictures(tmp_path / "moved", 1), tmp_path) == path
    pictures(tmp_path / "cats", 2)
    assert weights.resolve(NODE, cats, tmp_path) is None
    pictures(tmp_path / "cats", 1)
    assert weights.resolve(NODE, cats, tmp_path) == path


def test_a_restated_number_of_classes_is_the_same_network(tmp_path):
    for data, n in ((DATA, 10), (pictures(tmp_path / "own", 1), 2)):
        assert (
            weights.trains({**NODE, "num_classes": n}, data)
            == weights.trains(NODE, data)
            == weights.trains({**NODE, "num_classes": None}, data)
        )
        assert weights.trains({**NODE, "num_classes": n + 1}, data) != weights.trains(NODE, data)


def test_shipped_weights_are_those_of_the_built_in_data_restated_or_not(tmp_path):
    portraits, residual = (
        {"_target_": f"pomelo_lab.{name}"}
        for name in ("dataset.portraits.Portraits", "classifier.residual.ResidualClassifier")
    )
    for restated in ({}, {"num_classes": 5}):
        resolved = weights.resolve({**residual, **restated, "weights": "auto"}, {**portraits, "size_px": 64}, tmp_path)
        assert resolved == weights.ZOO / "portraits_residual.safetensors"
    for card in weights.ZOO.glob("*.json"):
        told = json.loads(card.read_text())
        assert weights.resolve({**told["component"], "weights": "auto"}, told["dataset"], tmp_path) == card.with_suffix(
            ".safetensors"
        )


def test_trained_on_changes_the_data_and_nothing_else(tmp_path):
    biased = {**DATA, "size_px": 16, "spurious": {"attribute": "Smiling", "rate": 0.95}}
    judge = {**NODE, "trained_on": {"spurious": {"rate": 0.5}}}
    assert weights.training_data(judge, biased) == {**biased, "spurious": {"attribute": "Smiling", "rate": 0.5}}
    assert weights.training_data(NODE, biased) == biased and biased["spurious"]["rate"] == 0.95
    portraits = {
        "_target_": "pomelo_lab.dataset.portraits.Portraits",
        "spurious": {"attribute": "Smiling", "rate": 0.95},
    }
    fair = {**portraits, "spurious": {"attribute": "Smiling", "rate": 0.5}}
    assert (
        weights.trains(judge, portraits)
        == weights.trains(NODE, fair)
        == weights.trains(judge, fair)
        != weights.trains(NODE, portraits)
    )


def test_a_damaged_file_is_not_used(tmp_path):
    path = tmp_path / "weights" / "residual_digits-1" / weights.FILE
    weights.save(small().network, path, {"component": NODE, "dataset": DATA})
    path.write_bytes(path.read_bytes()[:-4])
    assert weights.resolve(NODE, DATA, tmp_path) is None


@pytest.mark.parametrize("victim", ["digits_residual.safetensors", "digits_residual.json"])
@pytest.mark.parametrize("damage", ["bit", "cut", "zeros", "empty"])
def test_damaged_shipped_weights_are_refused_with_what_restores_them(tmp_path, monkeypatch, victim, damage):
    """By every door: found by themselves, asked for by name, by path; never trained anew for hours instead."""
    from pomelo_lab.training.train import ensure_weights
    from tests.test_damage import damaged

    monkeypatch.setattr(weights, "ZOO", tmp_path / "zoo")
    path = tmp_path / "zoo" / "digits_residual.safetensors"
    weights.save(small(num_classes=10).network, path, {"component": NODE, "dataset": DATA})
    damaged(tmp_path / "zoo" / victim, damage)
    for weight in ("auto", "zoo:digits_residual", str(path)):
        with pytest.raises(
            ValueError, match=f"{victim} is damaged.*install it again, or in a checkout: git checkout --"
        ):
            small(num_classes=10, weights=ensure_weights({**NODE, "weights": weight}, DATA, tmp_path, "cpu")["weights"])


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


def test_the_zoo_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "ZOO", tmp_path / "zoo")
    for path in (
        tmp_path / "zoo" / "digits_residual.safetensors",
        tmp_path / "weights" / "residual_digits-1" / weights.FILE,
    ):
        weights.save(small().network, path, {"component": NODE, "dataset": DATA})
    assert weights.resolve(NODE, DATA, tmp_path) == tmp_path / "zoo" / "digits_residual.safetensors"


def test_networks_without_labels_are_shared_between_labels_that_choose_no_images():
    generator = {"_target_": "pomelo_lab.generator.ddpm.DDPM"}
    celeba, chexpert = (
        {"_target_": f"pomelo_lab.dataset.{name}", "root": "x"} for name in ("celeba.CelebA", "chexpert.CheXpert")
    )

    def same(node, one, other):
        return weights.trains(generator, {**node, **one}) == weights.trains(generator, {**node, **other})

    assert same(celeba, {"label": "Smiling"}, {"label": "Young"}) and same(
        celeba, {"label": "Smiling"}, {"label": "hair_color"}
    )
    assert same(chexpert, {"label": "Edema"}, {"label": "Fracture"})
    assert not same({**chexpert, "uncertain": "drop"}, {"label": "Edema"}, {"label": "Fracture"})
    assert weights.trains(NODE, {**celeba, "label": "Smiling"}) != weights.trains(
        {**NODE, "output": "sigmoid"}, {**celeba, "label": "Smiling"}
    )


def test_temperature_is_no_property_of_weights():
    """A flow's latents are scaled, its weights stay what they were trained to be; what trains differently is another
    network."""
    from pomelo_lab.weights import trains

    data = {"_target_": "pomelo_lab.dataset.digits.Digits", "split": "test", "size_px": 16}
    flow = {"_target_": "pomelo_lab.generator.wavelet_flow.WaveletFlow", "weights": "auto"}
    assert (
        trains({**flow, "temperature": [0.5, 0.7, 1.0]}, data)
        == trains(flow, data)
        != trains({**flow, "noise": 2.0}, data)
    )


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
