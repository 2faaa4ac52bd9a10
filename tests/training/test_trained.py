"""Finding trained weights: by the network, its data and its recipe, and never damaged ones."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from pomelo_lab import weights
from pomelo_lab.classifier.residual import ResidualClassifier
from pomelo_lab.config.check import resolved
from pomelo_lab.config.entry import CONF, file_content
from pomelo_lab.config.schema import register
from pomelo_lab.config.signature import defaults, locate
from pomelo_lab.config.training_data import training_data
from pomelo_lab.engine.components import is_network
from pomelo_lab.training.recipe import own_recipe
from pomelo_lab.training.trained import resolve, say_once, training_digest, training_images, training_key

NODE = {"_target_": "pomelo_lab.classifier.residual.ResidualClassifier", "width": 4, "weights": "auto"}
DATA = {"_target_": "pomelo_lab.dataset.digits.Digits", "size_px": 16, "split": "test"}


def small(**changes):
    return ResidualClassifier(**{"num_classes": 3, "width": 4, **changes})


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


def test_auto_finds_what_was_trained_for_the_same_thing(tmp_path):
    assert resolve(NODE, DATA, tmp_path) is None
    path = tmp_path / "weights" / "residual_digits-1" / weights.FILE
    weights.save(small().network, path, {"component": NODE, "dataset": DATA})
    assert resolve(NODE, {**DATA, "split": "val"}, tmp_path) == path
    assert resolve({**NODE, "weights": None}, DATA, tmp_path) == path
    assert resolve({**NODE, "width": 8}, DATA, tmp_path) is None
    assert resolve(NODE, {**DATA, "size_px": 32}, tmp_path) is None
    weights.save(
        small().network, tmp_path / "weights" / "residual_digits-2" / weights.FILE, {"component": NODE, "dataset": DATA}
    )
    with pytest.raises(ValueError, match="2 trainings fit; name one"):
        resolve(NODE, DATA, tmp_path)


def test_weights_of_another_recipe_are_named_and_not_used(tmp_path, caplog):
    """A ResNet-18 of the default recipe passed for that of POMELO's experiment.

    What only concerns speed or arithmetic does not count.
    """
    say_once.cache_clear()
    default, pomelo = own_recipe(NODE), own_recipe({**NODE, "recipe": "pomelo"})
    path = tmp_path / "weights" / "residual_digits-1" / weights.FILE
    weights.save(
        small().network,
        path,
        {"component": NODE, "dataset": DATA, "recipe": {**default, "n_workers": 3, "precision": "bf16-mixed"}},
    )
    assert resolve(NODE, DATA, tmp_path) == path and not caplog.text
    assert resolve({**NODE, "recipe": "pomelo"}, DATA, tmp_path) is None
    assert (
        f"{path} was trained by another recipe (batch_size={default['batch_size']}, not {pomelo['batch_size']}"
        in caplog.text
    )
    other = tmp_path / "weights" / "residual_digits-2" / weights.FILE
    weights.save(small().network, other, {"component": NODE, "dataset": DATA, "recipe": {**pomelo, "cache_gb": 0.5}})
    assert resolve({**NODE, "recipe": "pomelo"}, DATA, tmp_path) == other and resolve(NODE, DATA, tmp_path) == path
    # the same but for its arithmetic: what the recipe asks for is taken
    asked = tmp_path / "weights" / "residual_digits-3" / weights.FILE
    weights.save(small().network, asked, {"component": NODE, "dataset": DATA, "recipe": default})
    assert resolve(NODE, DATA, tmp_path) == asked


def test_a_shortened_training_stands_in_until_the_whole_one_exists(tmp_path):
    """A classifier that was trained in full is the one that scale=smoke explains, too; a shortened one never serves
    another scale."""
    short = {**NODE, "recipe": "default:short"}
    for name, node in (("short", short), ("whole", NODE)):
        path = tmp_path / "weights" / f"residual_digits-{name}" / weights.FILE
        weights.save(small().network, path, {"component": node, "dataset": DATA, "recipe": own_recipe(node)})
        assert resolve(short, DATA, tmp_path) == path
        assert resolve(NODE, DATA, tmp_path) == (path if name == "whole" else None)
    assert resolve({**NODE, "recipe": "pomelo:short"}, DATA, tmp_path) is None


TRAINED = [path for group in ("classifier", "generator") for path in sorted(Path(CONF, group).glob("*.yaml"))]


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: path.stem)
def test_a_restated_default_is_the_same_network(path):
    """Whatever a component's yaml says is said by leaving it out, where its constructor has it; what the data say may
    be said, too."""
    node = file_content(f"{path.parent.name}/{path.stem}")
    if not is_network(node):
        pytest.skip("no trained network, or another file with changes")
    if "???" in node.values():
        pytest.skip("the user says which network")
    data = {"_target_": "pomelo_lab.dataset.portraits.Portraits"}
    # portraits have attributes
    node |= {"output": "sigmoid"} if str(node.get("output")).startswith("${outputs_of") else {}
    said, known = training_key(node, data), defaults(locate(node["_target_"]))
    for key in [key for key in node if key in known and node[key] == known[key]]:
        assert training_key({name: value for name, value in node.items() if name != key}, data) == said, key
    images = training_images(training_data(node, data))
    n_outputs = len(images.attribute_names) if node.get("output") == "sigmoid" else images.num_classes
    for key, value in {"num_classes": n_outputs, "channels": 3, "size_px": 64}.items():
        if key in known and node.get(key, 0) is None:
            assert training_key({**node, key: value}, data) == said, key


def test_weights_belong_to_the_images_that_they_were_trained_on(tmp_path, caplog):
    cats, birds = pictures(tmp_path / "cats", 1), pictures(tmp_path / "birds", 2)
    path = tmp_path / "weights" / "residual_image_folder-1" / weights.FILE
    about = {"component": NODE, "dataset": cats, "dataset_digest": training_digest(NODE, cats)}
    weights.save(small(num_classes=2).network, path, about)
    assert resolve(NODE, cats, tmp_path) == path and not caplog.text
    assert resolve(NODE, birds, tmp_path) is None and f"{path} was trained on other images" in caplog.text
    assert resolve(NODE, pictures(tmp_path / "moved", 1), tmp_path) == path
    pictures(tmp_path / "cats", 2)
    assert resolve(NODE, cats, tmp_path) is None
    pictures(tmp_path / "cats", 1)
    assert resolve(NODE, cats, tmp_path) == path


def test_a_restated_number_of_classes_is_the_same_network(tmp_path):
    for data, n in ((DATA, 10), (pictures(tmp_path / "own", 1), 2)):
        assert (
            training_key({**NODE, "num_classes": n}, data)
            == training_key(NODE, data)
            == training_key({**NODE, "num_classes": None}, data)
        )
        assert training_key({**NODE, "num_classes": n + 1}, data) != training_key(NODE, data)


def test_shipped_weights_are_those_of_the_built_in_data_restated_or_not(tmp_path):
    portraits, residual = (
        {"_target_": f"pomelo_lab.{name}"}
        for name in ("dataset.portraits.Portraits", "classifier.residual.ResidualClassifier")
    )
    for restated in ({}, {"num_classes": 5}):
        resolved = resolve({**residual, **restated, "weights": "auto"}, {**portraits, "size_px": 64}, tmp_path)
        assert resolved == weights.ZOO / "portraits_residual.safetensors"
    for card in weights.ZOO.glob("*.json"):
        told = json.loads(card.read_text())
        assert resolve({**told["component"], "weights": "auto"}, told["dataset"], tmp_path) == card.with_suffix(
            ".safetensors"
        )


def test_trained_on_changes_the_data_and_nothing_else(tmp_path):
    biased = {**DATA, "size_px": 16, "spurious": {"attribute": "Smiling", "rate": 0.95}}
    judge = {**NODE, "trained_on": {"spurious": {"rate": 0.5}}}
    assert training_data(judge, biased) == {**biased, "spurious": {"attribute": "Smiling", "rate": 0.5}}
    assert training_data(NODE, biased) == biased and biased["spurious"]["rate"] == 0.95
    portraits = {
        "_target_": "pomelo_lab.dataset.portraits.Portraits",
        "spurious": {"attribute": "Smiling", "rate": 0.95},
    }
    fair = {**portraits, "spurious": {"attribute": "Smiling", "rate": 0.5}}
    assert (
        training_key(judge, portraits)
        == training_key(NODE, fair)
        == training_key(judge, fair)
        != training_key(NODE, portraits)
    )


def test_a_damaged_file_is_not_used(tmp_path):
    path = tmp_path / "weights" / "residual_digits-1" / weights.FILE
    weights.save(small().network, path, {"component": NODE, "dataset": DATA})
    path.write_bytes(path.read_bytes()[:-4])
    assert resolve(NODE, DATA, tmp_path) is None


@pytest.mark.parametrize("victim", ["digits_residual.safetensors", "digits_residual.json"])
@pytest.mark.parametrize("damage", ["bit", "cut", "zeros", "empty"])
def test_damaged_shipped_weights_are_refused_with_what_restores_them(tmp_path, monkeypatch, victim, damage):
    """By every door: found by themselves, asked for by name, by path; never trained again for hours."""
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


def test_the_zoo_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "ZOO", tmp_path / "zoo")
    for path in (
        tmp_path / "zoo" / "digits_residual.safetensors",
        tmp_path / "weights" / "residual_digits-1" / weights.FILE,
    ):
        weights.save(small().network, path, {"component": NODE, "dataset": DATA})
    assert resolve(NODE, DATA, tmp_path) == tmp_path / "zoo" / "digits_residual.safetensors"


def test_networks_without_labels_are_shared_between_labels_that_choose_no_images():
    generator = {"_target_": "pomelo_lab.generator.ddpm.DDPM"}
    celeba, chexpert = (
        {"_target_": f"pomelo_lab.dataset.{name}", "root": "x"} for name in ("celeba.CelebA", "chexpert.CheXpert")
    )

    def same(node, one, other):
        return training_key(generator, {**node, **one}) == training_key(generator, {**node, **other})

    assert same(celeba, {"label": "Smiling"}, {"label": "Young"}) and same(
        celeba, {"label": "Smiling"}, {"label": "hair_color"}
    )
    assert same(chexpert, {"label": "Edema"}, {"label": "Fracture"})
    assert not same({**chexpert, "uncertain": "drop"}, {"label": "Edema"}, {"label": "Fracture"})
    assert training_key(NODE, {**celeba, "label": "Smiling"}) != training_key(
        {**NODE, "output": "sigmoid"}, {**celeba, "label": "Smiling"}
    )


def test_temperature_is_no_property_of_weights():
    """A flow's latents are scaled, its weights stay what they were trained to be; what trains differently is another
    network."""
    data = {"_target_": "pomelo_lab.dataset.digits.Digits", "split": "test", "size_px": 16}
    flow = {"_target_": "pomelo_lab.generator.wavelet_flow.WaveletFlow", "weights": "auto"}
    assert (
        training_key({**flow, "temperature": [0.5, 0.7, 1.0]}, data)
        == training_key(flow, data)
        != training_key({**flow, "noise": 2.0}, data)
    )


@pytest.mark.parametrize("name", [card.stem for card in sorted(weights.ZOO.glob("*.json"))])
def test_shipped_weights_are_found_by_the_configs_they_are_shipped_for(name, tmp_path):
    """Whatever arguments came and went since: else they are trained anew, silently but for a line."""
    label, *role = {
        "portraits_smile": ("Smiling", "classifier", "residual"),
        "portraits_young": ("Young", "classifier", "residual"),
        "portraits_residual": ("hair_color", "classifier", "residual"),
        "portraits_ddpm": ("hair_color", "generator", "ddpm_small"),
        "portraits_diffusion_autoencoder": ("hair_color", "generator", "diffusion_autoencoder_small"),
        "portraits_glow": ("hair_color", "generator", "glow_small"),
        "portraits_inpainter": ("hair_color", "generator", "inpainter_small"),
    }.get(name, ("hair_color", "classifier", name.removeprefix("portraits_")))
    words = [f"dataset.label={label}", f"{role[0]}={role[1]}", "explainer=random", "metrics=none", "tracking=none"]
    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        plain = resolved(compose("run", overrides=words))
    if plain[role[0]]["weights"] == f"zoo:{name}":
        pytest.skip("the config names its file")
    assert plain[role[0]]["weights"] == "auto"
    found = resolve(plain[role[0]], plain["dataset"], tmp_path)
    assert found == weights.ZOO / f"{name}.safetensors"
