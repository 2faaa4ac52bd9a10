"""What a plan foretells: seconds of the networks, from a forward of each."""

import pytest
import torch

from pomelo_lab import timing
from pomelo_lab.generator.base import Tally
from pomelo_lab.job import Job
from pomelo_lab.plan import Step, planned, steps, timed, timed_steps, total
from pomelo_lab.results.store import Store
from tests import every
from tests.running import TINY, config

BASE = tuple(text for text in TINY if text != "classifier.weights=null")


@pytest.fixture
def clock(monkeypatch):
    """A clock by which each call takes a second; what was measured before is forgotten."""
    now = iter(range(10**6))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(now)))
    timing._measured.clear()
    yield
    timing._measured.clear()


@pytest.mark.parametrize(("sampler", "per_image"), [("ddim", 1.0), ("flow", 1.0), ("inpaint", 1.0)])
def test_evaluations_take_as_long_as_one_forward_each(sampler, per_image, clock, tmp_path):
    """A second for one image is slow: no more are tried at once."""
    job = every.job(tmp_path, *every.chosen("sampler", sampler))
    before = Tally.n
    step = timed(Step("perturbations", 3, evaluations=30), job, job.sampler)
    assert step.seconds == pytest.approx(30 * per_image) and Tally.n == before, "measuring counts for nothing"
    assert timed(Step("perturbations", 3, evaluations=30), job, job.sampler).seconds == step.seconds, "measured once"


def test_queries_with_gradients_are_measured_by_themselves(clock, monkeypatch, tmp_path):
    job = every.job(tmp_path, *every.chosen("explainer", "saliency"))
    assert timed(Step("explanations", 3, queries=5), job, job.explainer, gradients=True).seconds == 5
    backwards = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: backwards.append(1) or grad(*given))
    assert timed(Step("clean images", 3, queries=5), job).seconds == 5 and not backwards


def test_a_function_of_the_user_s_is_not_asked(tmp_path):
    function = ("classifier=callable", "classifier.function=tests.test_timing:never", "classifier.num_classes=10")
    settings = config(tmp_path, *every.SMALL, "explainer=rise", "sampler=gray", *function, base=BASE)
    job = Job(settings, Store(tmp_path))
    plan = timed_steps(job)
    assert total(plan, "seconds") is None and timing.told(None) == "?" and total(plan, "queries") > 0


def test_a_device_of_another_machine_can_be_planned_for(tmp_path):
    """A grid for a cluster's GPU is planned on a laptop."""
    settings = {**config(tmp_path, *every.chosen("explainer", "rise")), "device": "cuda:63"}
    job, plan, _ = planned(settings, Store(tmp_path))
    assert total(plan, "queries") == total(steps(job), "queries") > 0 and total(plan, "seconds") is None


def never(images):
    raise AssertionError("a dry run asks no service of the user's")


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "< 1 s"), (42.4, "42 s"), (600, "10 min"), (36000, "10.0 h")])
def test_times_for_people(seconds, text):
    assert timing.told(seconds) == text
