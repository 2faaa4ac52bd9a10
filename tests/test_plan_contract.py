"""The plan of a dry run is what a job then does: counted in the stored shards, for every explainer, sampler and metric of the package."""

from pathlib import Path

import pytest

from pomelo_lab.config.entry import CONF
from pomelo_lab.job import Job
from pomelo_lab.plan import Step, steps
from pomelo_lab.results.store import read_shard
from scripts.check_conf import choice
from tests import every

STAGES = {"clean": "clean images", "perturbation": "perturbations", "prediction": "predictions", "explanation": "explanations"}
FITTED = {"reference": "statistics", "part": "statistics"}
FILES = ("fid_plus", "diversity_lpips", "lpips", "published", "s3")  # suites of networks whose files are not here; they ask the classifier nothing
SUITES = [p.stem for p in sorted(Path(CONF, "metrics").glob("*.yaml")) if p.stem not in ("none", *FILES)]
CHOSEN = {
    "latents": ("sampler=ddim",),
    "mark": ("dataset.spurious.attribute=Smiling",),
    "direction_diversity": (*every.DIRECTIONS[1:], "explainer.direction=h"),
    "code": every.DIRECTIONS[1:],
}


def counted(outputs: Path) -> dict[str, tuple[int, int, int]]:
    """Evaluations, queries and bytes that the shards of each stage tell."""
    found: dict[str, tuple[int, int, int]] = {}
    for path in outputs.rglob("*.safetensors"):
        stage = (STAGES | FITTED).get(path.parts[len(outputs.parts)], "")
        meta, before = read_shard(path).meta, found.get(stage, (0, 0, 0))
        here = (meta.get("evaluations", 0), meta.get("queries", 0), path.stat().st_size)
        found[stage] = tuple(a + b for a, b in zip(before, here, strict=True))
    return found


def assert_planned(step: Step, evaluations: int, queries: int) -> None:
    if step.note.startswith("at most"):
        assert evaluations <= step.evaluations and queries <= step.queries, step
    else:
        assert (evaluations, queries) == (step.evaluations, step.queries), step


def assert_stages_are_planned(job: Job) -> None:
    found, planned = counted(job.store.root), {step.name: step for step in steps(job)}
    for name in set(STAGES.values()) & ({*found} | {*planned}) | ({"statistics"} & {*found}):
        evaluations, queries, size = found.get(name, (0, 0, 0))
        assert_planned(planned[name], evaluations, queries)
        assert size >= planned[name].bytes, name


@pytest.mark.parametrize("name", [name for name in every.NAMES["explainer"] if name != "none"])
def test_explainers(name):
    assert_stages_are_planned(every.explained(name))


@pytest.mark.parametrize("name", [name for name in every.NAMES["sampler"] if name not in ("reference_cifar10", "reference_dataset")])
def test_samplers(name, tmp_path):
    job = every.job(tmp_path, *every.chosen("sampler", name), "explainer=none", "metrics=sampler")
    job.clean(0)
    job.perturbations(0, probability=True)
    assert_stages_are_planned(job)


@pytest.mark.parametrize("suite", SUITES)
def test_metrics(suite, tmp_path):
    """Metrics that explain anew for moved images or changed networks planned nothing: 120 times as many queries as the plan said."""
    job = every.job(tmp_path, *every.PORTRAITS, "networks=tiny", "n_images=3", *choice("metrics", suite), *CHOSEN.get(suite, ()))
    planned = {step.name: step for step in steps(job)}
    for name in job.metrics:
        if shard := job.score(name, 0):
            assert_planned(planned[f"metric {name}"], shard.meta["evaluations"], shard.meta["queries"])
