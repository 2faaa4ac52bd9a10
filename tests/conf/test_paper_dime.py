"""DiME's experiment in one command: its resolved values beside a list copied from the paper and, where that is silent, from its code."""

from pathlib import Path

import pytest
import yaml

from pomelo_lab.config.build import build
from pomelo_lab.config.entry import CONF
from pomelo_lab.results.preset import cells

FILES = ["dataset.root=/celeba", "classifier.weights=d.pth", "explainer.perceptual.weights=vgg19.pth"]
FILES += ["metrics.fid.weights=i.pth", "metrics.fva.weights=v.pth"]
PAPER = {
    "dataset.size_px": 128,
    "dataset.split": "val",
    "n_images": 19867,
    "classifier.architecture": "densenet121",
    "classifier.normalization": "half",
    "explainer.n_steps": 200,
    "explainer.lambda_c": [8.0, 10.0, 15.0],
    "explainer.lambda_p": 30.0,
    "explainer.lambda_l1": 0.05,
    "explainer.perceptual.architecture": "vgg19",
    "explainer.perceptual_unit": "raw",
    "explainer.layers": ["features.17"],
    "explainer.inner": "full",
    "explainer.class_loss": "logit",
    "explainer.variant": "dime",
    "generator.widths": [128, 128, 256, 384, 512],  # 128 channels times 1, 1, 2, 3, 4
    "generator.layers_per_block": 2,
    "generator.attention": [2, 3, 4],  # at 32, 16 and 8 pixels
    "generator.unshuffle": 1,
    "generator.n_timesteps": 500,
    "generator.schedule": "linear",
    "generator.prediction": "epsilon",
    "generator.variance": "learned",
    "generator.dropout": 0.0,
    "generator.recipe": "ddpm_dime",
    "metrics.fid.population": "successes",
    "metrics.fid.n_equal": None,
    "metrics.flip_rate.of": "float",
    "metrics.cd.n_labels": None,
}
RECIPE = {"optimizer": "adamw", "lr": 1e-4, "weight_decay": 0.05, "batch_size": 75, "min_steps": 270000,
          "ema": 0.9999, "flip": 0.5, "schedule": "constant"}  # fmt: skip


def value(config, key):
    for part in key.split("."):
        config = config[part]
    return config


@pytest.fixture(scope="module")
def jobs():
    return cells("dime_paper", FILES)


def test_the_values_of_the_paper(jobs):
    assert [job.config["classifier"]["column"] for job in jobs] == ["Smiling", "Young"]
    for job in jobs:
        assert {key: value(job.config, key) for key in PAPER} == PAPER
        assert {"fid", "fva", "mnac", "cd", "target_seen"} <= {name for name, node in job.config["metrics"].items() if node}


def test_the_noise_of_the_paper(jobs):
    """60 of 200 steps, 1,830 evaluations, from a noise of 0.78; the shape of the network without its 90 million weights."""
    from pomelo_lab.generator.ddpm import DDPM

    node = {**jobs[0].config["generator"], "widths": [32] * 5, "norm_groups": 8, "head_dim": 8, "size_px": 16, "channels": 3, "weights": None}
    generator = build(node)
    assert isinstance(generator, DDPM) and generator.learns_variance
    given = jobs[0].config["explainer"]
    explainer = build({**given, "perceptual": None, "generator": generator})
    assert explainer.taken == 60 and explainer.evaluations((3, 16, 16)) == 3 * 1830
    assert (1 - explainer.along.levels[61]) ** 0.5 == pytest.approx(0.78, abs=0.005)


def test_its_training():
    recipe = yaml.safe_load(Path(CONF, "recipe", "ddpm_dime.yaml").read_text())
    assert {key: recipe[key] for key in RECIPE} == RECIPE
