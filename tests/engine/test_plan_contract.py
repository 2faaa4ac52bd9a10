"""The plan of a dry run is what a job then does: counted in the stored shards, for every explainer and metric of
the package."""

from pathlib import Path

import pytest
import torch
import torchvision

from pomelo_lab.config.entry import CONF
from pomelo_lab.conformance.cost import ensure_all_is_planned, ensure_planned, ensure_stages_are_planned
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import steps
from scripts.check_conf import choice
from tests import every

FILES = ("fid_plus", "published", "s3")  # suites of networks whose files are not here; they ask the classifier nothing
BACKBONES = {"lpips": "removal_lpips", "diversity_lpips": "sigma_l"}  # the file is made
SUITES = [p.stem for p in sorted(Path(CONF, "metrics").glob("*.yaml")) if p.stem not in ("none", *FILES)]
# their backwards pass operators of their own: hooks of the network see none
OWN_RULES = ("deep_lift", "guided_backprop")
CHOSEN = {
    "latents": ("sampler=ddim",),
    "mark": ("dataset.spurious.attribute=Smiling",),
    "direction_diversity": (*every.DIRECTIONS[1:], "explainer.direction=h"),
    "code": every.DIRECTIONS[1:],
}


@pytest.mark.parametrize("name", [name for name in every.NAMES["explainer"] if name != "none"])
def test_explainers(name):
    job = every.explained(name)
    ensure_stages_are_planned(job)
    ensure_all_is_planned(job)
    assert job.through == job.parts.explainer.differentiates - ({"classifier"} if name in OWN_RULES else set()), (
        "what is timed with a backward"
    )


def test_dime_is_timed_with_the_denoiser_s_backward_where_its_jacobian_is_exact(tmp_path):
    job = every.job(tmp_path, *every.chosen("explainer", "dime"), "explainer.jacobian=exact", "scale=smoke")
    with every.gradients(job) as through:
        job.explanation(0)
    assert through == job.parts.explainer.differentiates == {"classifier", "generator"}


@pytest.mark.parametrize("suite", SUITES)
def test_metrics(suite, tmp_path):
    """Metrics that explain anew for moved images or changed networks planned nothing: 120 times as many queries as the
    plan said."""
    chosen = CHOSEN.get(suite, ())
    if name := BACKBONES.get(suite):
        torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "backbone.pth")
        chosen = (f"metrics.{name}.weights={tmp_path}/backbone.pth", f"metrics.{name}.net=squeeze")
    job = every.job(tmp_path, *every.PORTRAITS, "networks=tiny", "n_images=3", *choice("metrics", suite), *chosen)
    assert_scores_are_planned(job)


@pytest.mark.parametrize(
    "overrides",
    [
        ("explainer=iba", "metrics=sanity"),  # statistics of changed networks
        ("explainer=iba", "metrics=robustness"),
        ("explainer=lime", "metrics=sensitivity"),  # perturbations of other seeds
        ("explainer=random", "metrics=sensitivity"),  # nothing that other seeds share
        ("images=correct", "metrics=fidelity"),
    ],
    ids=" ".join,
)
def test_metrics_that_explain_anew_or_compare(overrides, tmp_path):
    assert_scores_are_planned(every.job(tmp_path, "networks=tiny", "n_images=3", *overrides))


def assert_scores_are_planned(job: Job) -> None:
    planned = {step.name: step for step in steps(job)}
    job.clean(0)
    if job.parts.perturbs:
        job.perturbations(0, probability=True)
    if job.parts.explains:
        job.explanation(0)
    for name, metric in job.parts.metrics.items():
        with every.gradients(job) as through:
            shard = job.score(name, 0)
        ensure_planned(planned[f"metric {name}"], [shard] if shard else [])
        explains = metric.overrides() or any(metric.explanations(job.parts.classifier))
        assert explains or not through, "metrics are timed without a backward"
    ensure_all_is_planned(job)
