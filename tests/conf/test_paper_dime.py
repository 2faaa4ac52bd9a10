"""DiME's experiment in one command: its resolved values beside a list copied from the paper and, where that is silent,
from its code."""

import pytest

from pomelo_lab.config.build import build
from pomelo_lab.config.entry import file_content
from pomelo_lab.results.grid import cells
from pomelo_lab.results.marks import control_of
from pomelo_lab.results.method import is_built, matches
from pomelo_lab.results.printed import printed_verdict
from pomelo_lab.results.report import load_report

SHARED = ["dataset.root=/celeba", "classifier.weights=d.pth", "explainer.perceptual.weights=vgg19.pth"]
FILES = {
    "dime_paper": [*SHARED, "metrics.fid.weights=i.pth", "metrics.fva.weights=v.pth"],
    "dime_paper_ablation": [*SHARED, "metrics.fid_plus.weights=i.pth"],
}
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
RECIPE = {
    "optimizer": "adamw",
    "lr": 1e-4,
    "weight_decay": 0.05,
    "batch_size": 75,
    "min_steps": 270000,
    "ema": 0.9999,
    "flip": 0.5,
    "schedule": "constant",
}


def value(config, key):
    for part in key.split("."):
        config = config[part]
    return config


def judges(node):
    """The networks inside a metric's config."""
    if isinstance(node, dict):
        if {"weights", "init_seed"} <= set(node):
            yield node
        for inner in node.values():
            yield from judges(inner)


@pytest.fixture(scope="module")
def jobs():
    return cells("dime_paper", FILES["dime_paper"])


@pytest.fixture(scope="module")
def ablation():
    return cells("dime_paper_ablation", FILES["dime_paper_ablation"])


def test_the_values_of_the_paper(jobs):
    assert [job.config["classifier"]["column"] for job in jobs] == 3 * ["Smiling", "Young"]
    for job in jobs[:2]:
        assert {key: value(job.config, key) for key in PAPER} == PAPER
        assert {"fid", "fva", "mnac", "cd", "target_seen"} <= {
            name for name, node in job.config["metrics"].items() if node
        }


def test_the_values_of_its_ablations(ablation):
    """Table 2: the networks and weights of Table 1, 1,000 images; FID+ and L1 of noise alone are of all outcomes."""
    stated = {
        key: wanted for key, wanted in PAPER.items() if not key.startswith("metrics.") and key != "explainer.variant"
    } | {"n_images": 1000}
    variants = [job.config["explainer"]["variant"] for job in ablation]
    assert variants == ["dime", "direct", "naive", "early_stop", "unconditional"]
    for job, variant in zip(ablation, variants, strict=True):
        assert {key: value(job.config, key) for key in stated} == stated
        wanted = "all" if variant == "unconditional" else "successes"
        assert job.config["metrics"]["fid_plus"]["population"] == job.config["metrics"]["l1"]["population"] == wanted


def test_the_judges_are_two_networks_of_the_paper_s_size(jobs, ablation):
    for job in (*jobs, *ablation):
        metrics = job.config["metrics"]
        assert {judge["architecture"] for judge in judges(metrics)} == {"resnet50"}
        assert metrics["target_seen"]["oracle"]["init_seed"] != metrics["target_seen_2"]["oracle"]["init_seed"]


@pytest.mark.parametrize("name", FILES)
def test_the_rows_of_its_claims_are_made_and_have_a_control(name, jobs, ablation):
    """Every row that a claim names is a job of the command, scored by the metrics that the claims read, and DiME has to
    beat noise alone."""
    table, made = load_report(name), jobs if name == "dime_paper" else ablation
    scored = {metric for metric, node in made[0].config["metrics"].items() if node}
    for claim in table.claims:
        assert all(text.partition(":")[0] in scored for text in claim.test)
        assert printed_verdict(claim, table) != "disagrees" or name == "dime_paper_ablation", claim.says
    for row in table.rows:
        assert not is_built(row) or any(matches(job, row) for job in made), row.key
        beaten = control_of(table, row)
        assert beaten or not row.key.startswith(("dime", "eq5", "direct", "naive", "early"))
        assert beaten is None or table.row(beaten.row) is not None


@pytest.mark.parametrize("label", ["Smiling", "Young"])
def test_noise_alone_is_scored_on_all_images(label):
    """Few of its images flip; a comparison on those alone would nearly always have too few."""
    (job,) = cells("dime_table1", ["scale=smoke", "method=dime_noise", f"dataset.label={label}"])
    populations = {
        name: job.config["metrics"][name]["population"] for name in ("fs_oracle", "fva_oracle", "mnac", "mnac_rest")
    }
    assert set(populations.values()) == {"all"} and job.config["metrics"]["target_seen"]["population"] == "successes"


def test_the_noise_of_the_paper(jobs):
    """60 of 200 steps, 1,830 evaluations, from a noise of 0.78; the shape of the network without its 90 million
    weights."""
    from pomelo_lab.generator.ddpm import DDPM

    node = {
        **jobs[0].config["generator"],
        "widths": [32] * 5,
        "norm_groups": 8,
        "head_dim": 8,
        "size_px": 16,
        "channels": 3,
        "weights": None,
    }
    generator = build(node)
    assert isinstance(generator, DDPM) and generator.learns_variance
    given = jobs[0].config["explainer"]
    explainer = build({**given, "perceptual": None, "generator": generator})
    assert explainer.n_steps_taken == 60 and explainer.cost((3, 16, 16)).evaluations == 3 * 1830
    assert (1 - explainer.schedule.alphas_cumprod[61]) ** 0.5 == pytest.approx(0.78, abs=0.005)


def test_its_training():
    recipe = file_content("recipe/ddpm_dime")
    assert {key: recipe[key] for key in RECIPE} == RECIPE
