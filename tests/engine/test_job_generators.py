"""Jobs with generators: what several jobs share is made once, and weights, shapes and batches of generators are the
job's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.engine.timing import CALLS
from pomelo_lab.generator.base import EvaluationCounter
from pomelo_lab.run import run
from tests.engine.test_job import job
from tests.running import config, scores

# --- perturbations of a grid ---------------------------------------------------------------------------------------

NET = {
    "unshuffle": 2,
    "widths": [8],
    "norm_groups": 4,
    "head_dim": 4,
    "attention": [],
    "weights": "null",
    "sigma_data": "null",
}
METRIC = "metrics.deletion_inpaint.filler.generator"


def network(key="generator", **changes):
    """Overrides that make a generator tiny."""
    return [f"{key}.{name}={value}".replace(" ", "") for name, value in {**NET, **changes}.items()]


DDIM = ("sampler=ddim", *network())
SMALL = ("dataset=portraits", "dataset.size_px=16", "metrics=none", *DDIM)


@pytest.fixture
def evaluated(monkeypatch):
    """Rows that the U-Net has seen, one entry per call."""
    from pomelo_lab.generator.ddpm import DDPM

    rows, genuine = [], DDPM.output

    def output(self, x, t):
        rows.append(len(x))
        return genuine(self, x, t)

    monkeypatch.setattr(DDPM, "output", output)
    return rows


@pytest.mark.parametrize(
    "grid",
    [
        ["segmenter.n_segments=4", "segmenter.n_segments=8", "segmenter.n_segments=12"],
        ["classifier.width=8", "classifier.width=16"],
        ["explainer.alpha=1", "explainer.alpha=2"],
        ["n_images=4", "n_images=2"],
    ],
    ids=lambda grid: grid[0].split("=")[0],
)
def test_perturbations_of_a_full_input_sampler_are_made_for_the_first_job_of_a_grid(tmp_path, evaluated, grid):
    folders = []
    for change in grid:
        folders.append(run(config(tmp_path, *SMALL, change)))
        # 4 images: 2 steps there, and back for all of 24 perturbations but the first
        assert sum(evaluated) == 4 * (2 + 23 * 2)
    assert len(set(folders)) == len(grid)
    stages = json.loads((folders[0] / "status.json").read_text())["stages"]
    assert stages["perturbation"]["evaluations"] == sum(evaluated)


@pytest.mark.parametrize("change", ["sampler.eta=0.5", "generator.init_seed=1", "generator.schedule=linear", "seed=1"])
def test_another_sampler_generator_or_seed_makes_them_again(tmp_path, change):
    first, other = (digest(job(tmp_path, *SMALL, *more).provenance.perturbation) for more in ((), (change,)))
    assert first != other


def test_what_runs_a_generator_is_not_in_the_fingerprint(tmp_path):
    same = ["batch_size=3", "runtime=compiled", "+generator.batch_size=2", "generator.size_px=16"]
    assert {digest(job(tmp_path, *SMALL, one).provenance.perturbation) for one in ("device=cpu", *same)} == {
        digest(job(tmp_path, *SMALL).provenance.perturbation)
    }


def test_micro_batches_of_a_generator_are_the_job_s(tmp_path, evaluated):
    few = job(tmp_path / "a", *SMALL, "batch_size=3").perturbations(0).image
    assert max(evaluated) == 3
    many = job(tmp_path / "b", *SMALL).perturbations(0).image
    assert max(evaluated) == 64 and int((few.int() - many.int()).abs().max()) <= 1


# --- generators of metrics ----------------------------------------------------------------------------------------


def inpainting(tmp_path, *overrides, **changes):
    return job(
        tmp_path, *DDIM, "metrics=inpaint", "~metrics.insertion_inpaint", *network(METRIC, **changes), *overrides
    )


def saved(path, seed):
    from pomelo_lab.config.entry import file_content
    from pomelo_lab.generator.ddpm import DDPM
    from pomelo_lab.weights import save

    unet = file_content("generator/ddpm_small")["unet"]
    save(
        DDPM(channels=3, size_px=16, init_seed=seed, unet=unet, **{**NET, "weights": None, "sigma_data": None}).network,
        path,
        {},
    )
    return path


def test_equal_generators_are_one_object(tmp_path):
    own = inpainting(tmp_path)
    assert own.parts.metrics["deletion_inpaint"].filler.generator is own.parts.generator is own.parts.sampler.generator
    assert inpainting(tmp_path).parts.generator is own.parts.generator
    other = inpainting(tmp_path, init_seed=1)
    assert other.parts.metrics["deletion_inpaint"].filler.generator is not other.parts.generator is own.parts.generator


def test_weights_of_a_metric_s_generator_are_in_its_fingerprint_alone(tmp_path):
    first, second = (saved(tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1))
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(first.read_bytes())
    one, other, same = (inpainting(tmp_path, weights=path) for path in (first, second, copy))
    scored = [digest(case.provenance.metric("deletion_inpaint")) for case in (one, other, same)]
    assert scored[0] != scored[1] and scored[0] == scored[2]
    assert len({digest(case.provenance.perturbation) for case in (one, other, same)}) == 1
    assert len({digest(case.provenance.explanation) for case in (one, other, same)}) == 1
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_a_job_scores_with_a_metric_s_own_generator(tmp_path, evaluated):
    folder = run(inpainting(tmp_path, "sampler=gray").config)
    column = scores(folder)["deletion_inpaint"]
    # scale=smoke scores 2 images
    assert len(column) == 4 and [value is None for value in column] == [False, False, True, True]
    assert sum(evaluated) > 0


# --- generators in configs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "wrong", "text"),
    [
        ("ddim", "glow", "sampler.generator needs a DDPM, the job has Glow"),
        ("inpaint_ddim", "glow", "sampler.generator needs a DDPM, the job has Glow"),
        ("flow", "ddpm", "sampler.generator needs a Flow, the job has DDPM"),
        ("ddim", "none", "sampler.generator is missing: expected a DDPM"),
    ],
)
def test_a_generator_of_the_wrong_kind_is_refused(tmp_path, sampler, wrong, text):
    from pomelo_lab.config.check import ConfigError
    from pomelo_lab.config.entry import CONF

    name = min(path.stem for path in Path(CONF, "generator").glob(f"{wrong}*.yaml"))
    with pytest.raises(ConfigError, match=text):
        config(tmp_path, f"sampler={sampler}", f"generator={name}")


def test_weights_auto_are_those_of_a_finished_training_and_the_shape_is_the_data_set_s(tmp_path, monkeypatch):
    from pomelo_lab.training.train import ensure_weights, train_component

    recipe = {
        "_target_": "pomelo_lab.training.recipe.Recipe",
        "epochs": 1,
        "min_steps": 0,
        "batch_size": 32,
        "lr": 2e-3,
        "n_train": 64,
        "n_val": 32,
        "shift_px": 0,
        "brightness": 0.0,
    }
    # the recipe that the network names
    monkeypatch.setattr("pomelo_lab.training.recipe.own_recipe", lambda node: recipe)
    composed = config(tmp_path, *DDIM, "generator.weights=auto", "dataset.size_px=8")
    generator, dataset = composed["generator"], composed["dataset"]
    assert generator["channels"] is None is generator["size_px"]
    path = train_component(generator, dataset, recipe, tmp_path, device="cpu")
    node = ensure_weights(generator, dataset, tmp_path, "cpu")
    assert (node["weights"], node["channels"], node["size_px"]) == (str(path), 3, 8) and path.parent.name.startswith(
        "ddpm_digits-"
    )
    trained = Job(composed, Store(tmp_path))
    assert trained.parts.generator.shape == (3, 8, 8) and trained.parts.generator.weights == str(path)
    untrained = job(tmp_path, *DDIM, "dataset.size_px=8")
    assert (
        trained.parts.generator.digest() != untrained.parts.generator.digest()
        and trained.fingerprint != untrained.fingerprint
    )
    assert len(list((tmp_path / "weights").glob("*/card.json"))) == 1


def test_a_dry_run_lists_network_evaluations_and_makes_none_but_those_that_it_times(tmp_path, evaluated, capsys):
    before = EvaluationCounter.n
    assert run(config(tmp_path, *DDIM, "dry_run=true")) is None
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "192" in lines["perturbations"] and "192" in lines["total"]
    assert len(evaluated) <= 2 * CALLS and EvaluationCounter.n == before, (
        "timed a few times with a few images and with more, which counts for nothing"
    )
    assert not (tmp_path / "perturbation").exists()
