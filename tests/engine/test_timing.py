"""What a plan foretells: seconds of the networks, from a forward of each, with a backward where gradients go through
it."""

from pathlib import Path

import pytest
import torch

from pomelo_lab.batching import ROWS
from pomelo_lab.config.entry import CONF
from pomelo_lab.engine import timing
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import Ask, plan_job, plan_steps, sum_steps
from pomelo_lab.engine.store import Store
from pomelo_lab.generator.base import EvaluationCounter
from tests import every
from tests.running import TINY, config

BASE = tuple(text for text in TINY if text != "classifier.weights=null")
GENERATORS = sorted(path.stem for path in Path(CONF, "generator").glob("*_tiny.yaml"))


@pytest.fixture
def clock(monkeypatch):
    """A clock by which each call takes as many seconds as its one entry says; what was measured before is forgotten."""
    now, step = [0.0], [1.0]

    def tick():
        now[0] += step[0]
        return now[0]

    monkeypatch.setattr(timing.time, "perf_counter", tick)
    timing._measured.clear()
    yield step
    timing._measured.clear()


@pytest.fixture
def calls(monkeypatch):
    """Images of each measured call."""
    sizes, measure = [], timing.measure

    def seen(ask, shape, n, device):
        return measure(lambda images: sizes.append(len(images)) or ask(images), shape, n, device)

    monkeypatch.setattr(timing, "measure", seen)
    return sizes


@pytest.mark.parametrize(("seconds", "sizes"), [(3.0, [ROWS]), (1.0, [ROWS] * 3), (0.5, [ROWS] * 3 + [16] * 3)])
def test_a_few_images_first_and_more_where_that_is_fast_and_a_long_call_once(seconds, sizes, clock, calls, tmp_path):
    job = every.job(tmp_path, *every.chosen("sampler", "ddim"))
    clock[0], before = seconds, EvaluationCounter.n
    ask = Ask("evaluations", 32, job.parts.generator)
    assert timing.seconds(ask, job) == 32 * seconds / sizes[-1] and calls == sizes
    assert timing.seconds(ask, job) == 32 * seconds / sizes[-1] and calls == sizes, "measured once"
    assert EvaluationCounter.n == before, "measuring counts for nothing"


@pytest.mark.parametrize(
    ("explainer", "backwards"),
    [
        ("saliency", {"queries": True}),
        ("occlusion", {"queries": False}),
        ("kernel_shap", {"queries": False}),
        ("rise", {"queries": False}),
        ("flow_counterfactual", {"queries": True, "evaluations": True}),
        ("ace", {"queries": True, "evaluations": True}),
    ],
)
def test_a_backward_is_timed_where_gradients_go_through(explainer, backwards, clock, monkeypatch, tmp_path):
    job = every.job(tmp_path, *every.chosen("explainer", explainer))
    asks = next(step.asks for step in plan_steps(job) if step.name in ("explanations", "predictions"))
    assert {ask.kind: ask.backward for ask in asks} == backwards
    made, grad = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: made.append(1) or grad(*given))
    for ask in asks:
        made.clear()
        assert timing.seconds(ask, job) > 0 and bool(made) == ask.backward


def test_explanations_that_a_metric_asks_for_again_are_timed_as_the_explainer_s(tmp_path):
    overrides = ("explainer=saliency", "metrics=sanity", "networks=tiny")
    (step,) = (step for step in plan_steps(every.job(tmp_path, *overrides)) if step.name.startswith("metric sanity"))
    assert [ask.backward for ask in step.asks if ask.kind == "queries"] == [True]


def test_a_function_of_the_user_s_is_not_asked(tmp_path):
    function = (
        "classifier=callable",
        "classifier.function=tests.engine.test_timing:never",
        "classifier.num_classes=10",
    )
    settings = config(tmp_path, *every.SMALL, "explainer=rise", "sampler=gray", *function, base=BASE)
    job = Job(settings, Store(tmp_path))
    assert {timing.seconds(ask, job) for step in plan_steps(job) for ask in step.asks} == {None}


def never(images):
    raise AssertionError("a dry run asks no service of the user's")


def test_a_network_that_would_be_compiled_first_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "measure", never)
    job = every.job(tmp_path, *every.SMALL, "runtime=compiled", "explainer=rise")
    assert timing.seconds(Ask("queries", 3, job.parts.classifier), job) is None


def test_a_device_of_another_machine_can_be_planned_for(tmp_path):
    """A grid for a cluster's GPU is planned on a laptop."""
    settings = {**config(tmp_path, *every.chosen("explainer", "rise")), "device": "cuda:63"}
    job, plan, _ = plan_job(settings, Store(tmp_path))
    whole = sum_steps(plan, "total", 3)
    assert whole.queries == sum_steps(plan_steps(job), "total", 3).queries > 0 and whole.seconds is None


@pytest.mark.parametrize("name", GENERATORS)
def test_one_forward_of_every_generator_is_one_evaluation_and_can_be_differentiated(name, tmp_path):
    generator = every.job(
        tmp_path, *every.PORTRAITS, "networks=tiny", f"generator={name}", "metrics=none"
    ).parts.generator
    before, images = EvaluationCounter.n, torch.full((3, 3, 32, 32), 0.5, requires_grad=True)
    answer = generator.one_forward(images)
    assert EvaluationCounter.n - before == 3 and torch.autograd.grad(answer.sum(), images)[0].shape == images.shape
