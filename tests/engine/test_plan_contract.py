"""The plan of a dry run is what a job then does: counted in the stored shards, for every explainer and metric of
the package."""

import pytest

from pomelo_lab.conformance.cost import ensure_all_is_planned, ensure_planned
from pomelo_lab.conformance.watch import gradients
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import plan_steps
from tests import every


def test_dime_is_timed_with_the_denoiser_s_backward_where_its_jacobian_is_exact(tmp_path):
    job = every.job(tmp_path, *every.chosen("explainer", "dime"), "explainer.jacobian=exact", "scale=smoke")
    with gradients(job) as through:
        job.explanation(0)
    assert through == job.parts.explainer.differentiates == {"classifier", "generator"}


@pytest.mark.parametrize(
    "overrides",
    [
        ("explainer=iba", "metrics=sanity"),  # statistics of changed networks
        ("explainer=iba", "metrics=robustness"),
        ("explainer=lime", "metrics=sensitivity"),  # perturbations of other seeds
        ("explainer=random", "metrics=sensitivity"),  # nothing that other seeds share
        ("images=correct", "metrics=fidelity"),
        (
            "explainer=none",
            "metrics=removal",
            "sampler=inpaint",
            "dataset=portraits",
        ),  # fills that several metrics share
    ],
    ids=" ".join,
)
def test_metrics_that_explain_again_or_compare(overrides, tmp_path):
    assert_scores_are_planned(every.job(tmp_path, "networks=tiny", "n_images=3", *overrides))


def assert_scores_are_planned(job: Job) -> None:
    planned = {step.name: step for step in plan_steps(job)}
    job.clean(0)
    if job.parts.perturbs:
        job.perturbations(0, probability=True)
    if job.parts.explains:
        job.explanation(0)
    for name, metric in job.parts.metrics.items():
        with gradients(job) as through:
            shard = job.score(name, 0)
        ensure_planned(planned[f"metric {name}"], [shard] if shard else [])
        explains = metric.overrides() or any(metric.explanations(job.parts.classifier))
        assert explains or not through, "metrics are timed without a backward"
    ensure_all_is_planned(job)
