"""Training: the same numbers after a kill, done once, found again, and wrong configs refused before anything is
read."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pomelo_lab.config.build import build
from pomelo_lab.config.entry import CONF
from pomelo_lab.training.recipe import own_recipe
from pomelo_lab.training.train import ensure_weights, train_component
from pomelo_lab.training.trained import resolve
from tests.running import config

ROOT = Path(__file__).resolve().parents[1]
NODE = {
    "_target_": "pomelo_lab.classifier.plain.PlainClassifier",
    "width": 4,
    "depth": 2,
    "hidden": 8,
    "weights": "auto",
}
DATA = {"_target_": "pomelo_lab.dataset.digits.Digits", "split": "test", "size_px": 16}
RECIPE = {
    "_target_": "pomelo_lab.training.recipe.Recipe",
    "epochs": 2,
    "min_steps": 0,
    "batch_size": 64,
    "n_train": 256,
    "n_val": 128,
    "flip": 0.5,
    "shift_px": 1,
}


def trained(outputs, recipe=RECIPE, **options):
    return train_component(NODE, DATA, recipe, outputs, device="cpu", **options)


def state(path):
    from safetensors.torch import load_file

    return load_file(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    return outputs, trained(outputs)


def test_card_says_what_was_done(finished):
    outputs, path = finished
    card = json.loads((path.parent / "card.json").read_text())
    assert path.parent.parent == outputs / "weights" and path.parent.name.startswith("plain_digits-")
    assert card["precision"] == "32-true" and card["steps"] == 8 and card["seed"] == 0 and card["n_train"] == 256
    assert (
        0 <= card["scores"]["accuracy"] <= 1
        and card["scores"]["n"] == 128
        and len(card["scores"]["accuracy_per_class"]) == 10
    )
    assert card["component"] == NODE and card["dataset"] == DATA and card["recipe"] == RECIPE
    assert {"digest", "trains", "dataset_digest", "versions", "created", "seconds"} <= set(card)
    assert sorted(p.name for p in path.parent.iterdir() if p.name != ".lock") == [
        "card.json",
        "log.jsonl",
        "weights.safetensors",
    ]


def test_finished_training_is_skipped_unless_forced(finished):
    outputs, path = finished
    before = path.stat().st_mtime_ns
    assert trained(outputs) == path and path.stat().st_mtime_ns == before
    first = state(path)
    assert trained(outputs, force=True) == path and path.stat().st_mtime_ns > before
    assert all(torch.equal(first[name], tensor) for name, tensor in state(path).items())


def test_another_seed_is_another_training(finished):
    outputs, path = finished
    other = trained(outputs / "other", seed=1)
    assert other.parent.name != path.parent.name
    assert not torch.equal(state(other)["head.weight"], state(path)["head.weight"])


def test_auto_becomes_the_trained_file(finished, monkeypatch):
    outputs, path = finished
    # the recipe that the network names
    monkeypatch.setattr("pomelo_lab.training.recipe.own_recipe", lambda node: RECIPE)
    assert resolve(NODE, DATA, outputs) == path
    node = ensure_weights(NODE, DATA, outputs, "cpu")
    assert node["weights"] == str(path)
    classifier = build(node, num_classes=10)
    assert not any(p.requires_grad for p in classifier.network.parameters())
    assert ensure_weights({**NODE, "weights": None}, DATA, outputs)["weights"] is None


def test_a_network_learns_from_the_data_that_it_names(tmp_path, monkeypatch):
    """As if they were the job's: the same file, found for either way of saying so."""
    quick = {**RECIPE, "epochs": 1, "n_train": 64, "n_val": 64}
    # the recipe that the network names
    monkeypatch.setattr("pomelo_lab.training.recipe.own_recipe", lambda node: quick)
    small, large = {**DATA, "size_px": 16}, {**DATA, "size_px": 24}
    named = {**NODE, "trained_on": {"size_px": 16}}
    path = train_component(named, large, quick, tmp_path, device="cpu")
    assert json.loads((path.parent / "card.json").read_text())["dataset"]["size_px"] == 16
    assert (
        train_component(NODE, small, quick, tmp_path, device="cpu")
        == path
        == resolve(NODE, small, tmp_path)
        == resolve(named, large, tmp_path)
    )
    assert resolve(NODE, large, tmp_path) is None


def test_steps_rate_and_time_left_are_told_without_a_terminal(tmp_path, caplog, monkeypatch):
    from pomelo_lab.training import loop

    monkeypatch.setattr(loop, "EVERY_S", 0.0)
    monkeypatch.setattr(loop, "FIRST_S", 0.0)
    with caplog.at_level("INFO"):
        trained(tmp_path)
    assert "8 steps of 64 images, of 256" in caplog.text
    lines = re.findall(r"step (\d) of 8, [\d.]+ (?:steps/s|s per step), about \d+ s left", caplog.text)
    assert lines == ["2", "3", "4", "5", "6", "7"]


def test_global_rng_is_left_alone(tmp_path):
    before = torch.random.get_rng_state()
    trained(tmp_path, {**RECIPE, "epochs": 1})
    assert torch.equal(torch.random.get_rng_state(), before)


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from tests.test_train import NODE, DATA, RECIPE
from pomelo_lab.training.train import train_component
recipe = {**RECIPE, "epochs": 12, "n_train": None, "checkpoint_s": float(sys.argv[2]), "cache_gb": float(sys.argv[3])}
print(train_component(NODE, DATA, recipe, sys.argv[1], device="cpu"))
"""


def start(outputs, checkpoint_s, cache_gb):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(outputs), str(checkpoint_s), str(cache_gb)], cwd=ROOT, env={**os.environ}
    )


def test_killed_and_resumed_equals_undisturbed_bit_for_bit(tmp_path):
    whole = start(tmp_path / "whole", 1000, 1)
    killed = start(tmp_path / "killed", 0.01, 0)
    limit = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob("last.ckpt")) and killed.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    (last,) = (tmp_path / "killed").rglob("last.ckpt")
    at = torch.load(last, weights_only=True)["global_step"]
    assert not list(last.parent.glob("card.json")) and at > 0
    assert start(tmp_path / "killed", 1000, 1).wait() == 0 and whole.wait() == 0
    files = [next((tmp_path / name).rglob("weights.safetensors")) for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not last.exists()


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pomelo_lab.train", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_command_ends_with_the_folder(tmp_path):
    overrides = [
        "classifier.width=4",
        "dataset=digits",
        "dataset.size_px=16",
        "recipe=smoke",
        f"paths.outputs={tmp_path}",
        "device=cpu",
    ]
    done = command(*overrides)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1].removeprefix("results: "))
    assert (folder / "weights.safetensors").exists() and folder.parent == tmp_path / "weights"


def test_every_mistake_in_one_message(tmp_path):
    done = command(
        "dataset=digits", "classifier=oracle", "recipe.lr=-1", "recipe.optimizer=adamm", f"paths.outputs={tmp_path}"
    )
    assert done.returncode == 1
    assert "recipe.lr must be > 0, got -1" in done.stderr and "did you mean 'adam'" in done.stderr
    assert (
        command("dataset=digits", "classifier=oracle", f"paths.outputs={tmp_path}").stderr.count(
            "dataset Digits has none"
        )
        == 1
    )
    assert not (tmp_path / "weights").exists()


def test_a_callable_cannot_be_trained(tmp_path):
    done = command("dataset=digits", "classifier=callable", "classifier.function=a.b:c", f"paths.outputs={tmp_path}")
    assert "CallableClassifier cannot be trained" in done.stderr


def test_several_processes_learn_what_one_does(tmp_path):
    """All draws of a step are made for the whole batch, and each process takes its share of it."""
    shape = {"unshuffle": 1, "widths": [8], "attention": [], "norm_groups": 4, "head_dim": 4, "channels": None}
    node = {"_target_": "pomelo_lab.generator.ddpm.DDPM", **shape}
    recipe = {**RECIPE, "epochs": 1, "optimizer": "sgd", "lr": 0.01, "ema": 0.5}
    one, two = (
        train_component({**node, "size_px": None}, DATA, recipe, tmp_path / str(n), device="cpu", devices=n)
        for n in (1, 2)
    )
    assert one.parent.name == two.parent.name
    single, shared = state(one), state(two)
    # kept in 16 bits
    assert all(torch.allclose(single[name].float(), tensor.float(), atol=2e-3) for name, tensor in shared.items())
    assert json.loads((two.parent / "card.json").read_text())["device"] == "2 x cpu"


def test_celeba_trains_generators_and_perturbs(tmp_path):
    """The commands of the paper's experiments, on a folder in the official layout with tiny networks."""
    from tests.dataset.fixtures import CELEBA_ROWS, make_celeba

    rows = CELEBA_ROWS | {f"{k:06d}.jpg": (0, ("Blond_Hair",)) for k in range(11, 19)}
    root = make_celeba(tmp_path / "celeba", rows)
    common = [f"dataset.root={root}", "dataset=celeba", "dataset.size_px=16", f"paths.outputs={tmp_path / 'out'}"]
    short = ["recipe.min_steps=2", "recipe.batch_size=4", "recipe.n_workers=0"]
    tiny = {
        "glow_paper": ["generator.n_flows=1", "generator.n_blocks=2", "generator.hidden=4"],
        "ddpm_paper": [
            "generator.widths=[8,8]",
            "generator.attention=[1]",
            "generator.norm_groups=4",
            "generator.head_dim=4",
        ],
    }
    for generator, small in tiny.items():
        run = [sys.executable, "-m", "pomelo_lab.train", f"generator={generator}", *common, *small, *short]
        done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0 and "use it with generator.weights=" in done.stdout, done.stderr
        # of another recipe than the generator names: asked for by their file
        weights = re.search(r"generator\.weights=\S+", done.stdout)[0]
        sampler = {"glow_paper": "flow", "ddpm_paper": "ddim"}[generator]
        job = [
            f"sampler={sampler}",
            "networks=paper",
            "classifier.weights=null",
            "metrics=none",
            "explainer=lime",
            "scale=smoke",
            "tracking=none",
        ]
        run = [sys.executable, "-m", "pomelo_lab.run", *job, *common, *small, weights, "segmenter.n_segments=4"]
        done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0 and "training them now" not in done.stderr, done.stderr


def folder_of(tmp_path, **images):
    """An image folder with so many images of each class in the split train, and one of each in the others."""
    from tests.dataset.fixtures import picture

    for split in ("train", "val", "test"):
        for name, n in images.items():
            for i in range(n if split == "train" else 1):
                path = tmp_path / "data" / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture(i, 16, 16).save(path)
    return {"_target_": "pomelo_lab.dataset.image_folder.ImageFolder", "root": str(tmp_path / "data"), "size_px": 16}


def test_one_image_to_learn_from_and_a_class_without_any_are_named_before(tmp_path, caplog):
    with pytest.raises(ValueError, match="the split train of ImageFolder has 1 image, training needs two at least"):
        train_component(NODE, folder_of(tmp_path / "one", a=1, b=0), RECIPE, tmp_path, device="cpu")
    train_component(NODE, folder_of(tmp_path / "two", a=2, b=0), {**RECIPE, "epochs": 1}, tmp_path, device="cpu")
    assert "no image of the split train is of the class b: the classifier cannot learn it" in caplog.text


def test_images_that_a_network_cannot_take_are_refused_before_training(tmp_path):
    node = {
        "_target_": "pomelo_lab.classifier.torchvision.TorchvisionClassifier",
        "architecture": "vgg16",
        "weights": "auto",
    }
    with pytest.raises(ValueError, match="dataset.size_px: the classifier vgg16 cannot take images of 3x16x16"):
        train_component(node, folder_of(tmp_path, a=2, b=2), RECIPE, tmp_path, device="cpu")


@pytest.mark.parametrize(("scale", "recipe"), [("smoke", "ddpm_small:short"), ("quick", "ddpm_small")])
def test_smoke_shortens_the_training_of_networks_without_weights(scale, recipe, tmp_path):
    """600 epochs on 28 images, at the scale that promises seconds; and 20,000 steps of a diffusion model."""
    node = config(tmp_path, "sampler=ddim", f"scale={scale}")["generator"]
    assert node["recipe"] == recipe
    own, long = own_recipe(node), own_recipe({**node, "recipe": "ddpm_small"})
    assert own.keys() == long.keys() and own["lr"] == long["lr"]
    assert (own["epochs"], own["min_steps"], own["n_train"]) == ((1, 0, 256) if scale == "smoke" else (1, 20000, None))


def test_every_network_that_is_trained_on_first_use_is_shortened_at_smoke():
    files = [p for group in ("classifier", "generator") for p in Path(CONF, group).glob("*.yaml")]
    named = {
        p.stem: line
        for p in files
        for line in p.read_text().splitlines()
        if line.startswith("recipe:") and "not trained here" not in line
    }
    assert len(named) > 20 and all(line.startswith("recipe: ${short_at_smoke:") for line in named.values()), named
