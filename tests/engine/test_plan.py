"""What a dry run counts."""

from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import plan_steps
from pomelo_lab.engine.store import Store
from tests.running import config


def plan(tmp_path, *overrides):
    return {step.name: step for step in plan_steps(Job(config(tmp_path, *overrides), Store(tmp_path)))}


SIZES = (
    "metrics=sensitivity",
    "metrics.sensitivity_ssim.key=explainer.patch_px",
    "explainer=sliding_patch",
    "sampler=gray",
    "n_images=2",
)


def test_explanations_by_other_settings_are_counted_once_whatever_the_number_of_metrics(tmp_path):
    planned = plan(
        tmp_path, *SIZES, "explainer.patch_px=4", "explainer.stride_px=4", "metrics.sensitivity_ssim.settings=[4,8,12]"
    )
    places = {4: 16, 8: 9, 12: 4}  # of 16 pixels
    assert planned["explanations"].queries == 2 * (1 + places[4])
    assert planned["2 more explanations"].queries == 2 * (2 + places[8] + places[12])


def test_perturbations_of_other_seeds_are_counted(tmp_path):
    planned = plan(
        tmp_path, "metrics=sensitivity", "explainer=lime", "explainer.n_samples=10", "sampler=gray", "n_images=2"
    )
    assert planned["predictions"].queries == 20 and planned["4 more explanations"].queries == 80


def test_jobs_that_compare_nothing_have_no_such_line(tmp_path):
    assert not [name for name in plan(tmp_path, "metrics=none") if "more explanations" in name]
