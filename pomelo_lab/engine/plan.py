"""The plan of a job: images, network evaluations, classifier queries, bytes on disk, and an estimate of the time.

The plan counts in the same way as a job does (`EvaluationCounter`, `BlackBox.queries`):
- A query is one image in a forward pass of the classifier. An evaluation is one image in a forward pass of a
  generator's network. Copies that fill up a batch (`in_full_rows`) do not count. A backward pass is not counted.
- A stored artefact is counted once, in the stage that computes it. The plan assumes an empty store.
- Explanations and statistics that are not stored are counted for the metric that needs them.
Bytes are those of images, maps and the classifier's probabilities. The plan runs only a few forward passes, from which
it estimates the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.config.signature import Component
from pomelo_lab.config.tree import map_nodes
from pomelo_lab.cost import Cost
from pomelo_lab.devices import NoSuchDevice, pick_device
from pomelo_lab.engine.components import count_later
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.preflight import check
from pomelo_lab.engine.store import Store
from pomelo_lab.metric.base import Metric
from pomelo_lab.network import TrainableNetwork
from pomelo_lab.training.train import short_name
from pomelo_lab.training.trained import has_weights

ANSWER_BYTES = 4  # probabilities are float32
SHARED = "of training images, once for all jobs that share them"
FEWER = "fewer where images are equal or end early"


@dataclass(frozen=True)
class Ask:
    """The images that one network processes.

    kind: "evaluations" of a generator or "queries" of the classifier. n: the number of images. backward: whether
        gradients go through the network.
    """

    kind: str
    n: int
    network: Any = None
    backward: bool = False


@dataclass(frozen=True)
class Step:
    """One stage of the plan, with totals over all images of the job.

    at_most: whether the counts are upper limits. seconds: the time of the networks' forward and backward passes; None
        when it is unknown.
    """

    name: str
    images: int
    asks: tuple[Ask, ...] = ()
    bytes: int = 0
    note: str = ""
    at_most: bool = False
    seconds: float | None = 0.0

    @property
    def evaluations(self) -> int:
        return sum(ask.n for ask in self.asks if ask.kind == "evaluations")

    @property
    def queries(self) -> int:
        return sum(ask.n for ask in self.asks if ask.kind == "queries")


def plan_job(config: Mapping[str, Any], store: Store) -> tuple[Job, list[Step], list[str]]:
    """Plans a job without training its networks.

    The plan may be for a device that this machine does not have. Its times are then unknown.
    Returns: the job with untrained networks; its stages with times; the names of the networks that it would train.
    Raises: ValueError, before anything is timed, when the job itself would be refused before its first image.
    """
    from pomelo_lab.engine.timing import seconds

    missing: list[str] = []
    settings = drop_missing_weights(config, config["dataset"], config["paths"]["outputs"], missing)
    try:
        device: Any = pick_device(config["device"])
    except NoSuchDevice:
        device = None
    job = Job(settings, store, device or "cpu")
    check(job.parts)

    def timed(step: Step) -> Step:
        each = [seconds(ask, job) if device else None for ask in step.asks]
        return replace(step, seconds=None if None in each else sum(each))

    return job, [timed(step) for step in plan_steps(job)], list(dict.fromkeys(missing))


def sum_steps(plan: Sequence[Step], name: str, images: int, note: str = "", at_most: bool = False) -> Step:
    """Sums steps to one step. Its time is unknown when the time of any of them is unknown."""
    asks = (Ask(kind, sum(getattr(step, kind) for step in plan)) for kind in ("evaluations", "queries"))
    times = [step.seconds for step in plan]
    seconds, size = None if None in times else sum(times), sum(step.bytes for step in plan)
    return Step(name, images, tuple(asks), size, note, at_most or any(step.at_most for step in plan), seconds)


def plan_steps(job: Job) -> list[Step]:
    """Lists the stages of a job, with the costs that the components declare."""
    n, plan = job.selection.n_asked, []
    if job.selection.chooses:
        size = len(job.parts.dataset)
        note = "until enough images are answered right"
        asks = list_asks(job, None, Cost(queries=size))
        plan.append(Step("choice of images", size, asks, answer_bytes(job, size), note, True))
    plan.append(Step("clean images", n, list_asks(job, None, Cost(queries=n)), answer_bytes(job, n)))
    plan += plan_explanations(job).values()
    plan += plan_comparisons(job)
    plan += plan_statistics(job)
    return plan + plan_metrics(job)


def list_asks(job: Job, component: Any, cost: Cost, backward: bool = True) -> tuple[Ask, ...]:
    """Lists the evaluations and the queries of a component.

    The evaluations are those of the component's own generator, or else of the job's generator.

    Args: backward: False = no gradients in this stage, even if the component differentiates in other stages.
    """
    through = getattr(component, "differentiates", frozenset()) if backward else frozenset()
    generator = (find_generator(component) or job.parts.generator) if cost.evaluations else None
    asks = (
        Ask("evaluations", cost.evaluations, generator, "generator" in through),
        Ask("queries", cost.queries, job.parts.classifier, "classifier" in through),
    )
    return tuple(ask for ask in asks if ask.n)


def expect_rows(job: Job, share: int = 1) -> None:
    """Tells the networks of a job how many images they will be asked about, for the choice of a runtime.

    Rows of later jobs of this process that name the same network are taken to be as many.

    Args: share: the number of processes that share the images.
    """
    rows: dict[int, int] = {}
    networks = {}
    for ask in (ask for step in plan_steps(job) for ask in step.asks):
        if isinstance(ask.network, TrainableNetwork) and not ask.backward:
            networks[id(ask.network)] = ask.network
            rows[id(ask.network)] = rows.get(id(ask.network), 0) + ask.n
    for key, network in networks.items():
        network.expect_rows(rows[key] * (1 + count_later(network)) // share)


def find_generator(component: Any) -> Any:
    """The generator of a component or of a component inside it. None when there is no generator."""
    from pomelo_lab.generator.base import Generator

    if isinstance(component, Generator):
        return component
    held = vars(component).values() if isinstance(component, Component) else ()
    return next((inner for part in held if (inner := find_generator(part)) is not None), None)


def answer_bytes(job: Job, n: int) -> int:
    """The size of the classifier's probabilities of n images, in bytes."""
    return n * job.parts.dataset.num_classes * ANSWER_BYTES


def plan_explanations(job: Job) -> dict[str, Step]:
    """The stages from perturbations to explanations, by kind of artefact.

    The kind "statistics" stands for the statistics of training images that the explainer uses.
    """
    parts, n, plan = job.parts, job.selection.n_asked, {}
    shape, explainer = parts.dataset.shape, parts.explainer
    if parts.perturbs:
        n_perturbed, stored = n * parts.n_perturbations, job.stores_perturbations
        note = "" if stored else f"not kept: over keep_gb={job.config['keep_gb']:g}"
        asks = list_asks(job, parts.sampler, n * parts.sampler.cost(parts.n_perturbations))
        plan["perturbation"] = Step("perturbations", n, asks, job.perturbation_bytes if stored else 0, note)
        if parts.explains or any({"classifier", "perturbations"} <= metric.needs for metric in parts.metrics.values()):
            plan["prediction"] = Step(
                "predictions", n, list_asks(job, None, Cost(queries=n_perturbed)), answer_bytes(job, n_perturbed)
            )
    if parts.explains and explainer.fits:
        cost = explainer.fit_cost(len(parts.dataset.at("train")))
        asks = list_asks(job, explainer, cost, backward=False)
        plan["statistics"] = Step("statistics", 0, asks, cost.bytes, SHARED, cost.at_most)
    if parts.explains:
        cost = n * explainer.cost(shape)
        asks, note = list_asks(job, explainer, cost), FEWER if cost.at_most else ""
        plan["explanation"] = Step("explanations", n, asks, cost.bytes, note, cost.at_most)
    return plan


def plan_comparisons(job: Job) -> list[Step]:
    """The explanations with other settings that metrics compare with the job's explanations, as one step.

    Artefacts that several of these jobs share are counted once.
    """
    others = [sibling for metric in job.parts.metrics.values() for sibling in job.siblings(metric)]
    plan: dict[tuple[str, str], Step] = {}
    for asker in (job, *others) if others else ():
        provenance = asker.provenance
        for kind, step in plan_explanations(asker).items():
            made_from = provenance.statistics if kind == "statistics" else provenance.stages[kind]
            plan.setdefault((kind, digest(made_from)), step)
    more = list(plan.values())[len(plan_explanations(job)) :]
    n = sum(step.name == "explanations" for step in more)
    if not more:
        return []
    asks = tuple(ask for step in more for ask in step.asks)
    note, at_most = "other settings, which metrics compare", any(step.at_most for step in more)
    return [
        Step(f"{n} more explanations", job.selection.n_asked, asks, sum(step.bytes for step in more), note, at_most)
    ]


def plan_statistics(job: Job) -> list[Step]:
    """The steps that compute the metrics' statistics of training images, if they need a network.

    Equal statistics of several metrics are counted once.
    """
    plan: dict[str, Step] = {}
    for name, metric in job.parts.metrics.items():
        if metric.fits and (cost := metric.fit_cost(len(job.parts.dataset.at("train")))) != Cost():
            key = digest(job.provenance.metric_arguments(name))
            plan.setdefault(key, Step(f"statistics {name}", 0, list_asks(job, metric, cost), note=SHARED))
    return list(plan.values())


def plan_metrics(job: Job) -> list[Step]:
    """The steps of all metrics. What several of them take from `Case.once` is counted for the first."""
    steps, made = [], set()
    for name, metric in job.parts.metrics.items():
        shared = {(metric.n_images, key): cost for key, cost in metric.shared_cost(job.parts.dataset.shape).items()}
        steps.append(plan_metric(job, name, metric, sum((shared[key] for key in made & shared.keys()), Cost())))
        made |= shared.keys()
    return steps


def plan_metric(job: Job, name: str, metric: Metric, paid: Cost) -> Step:
    """The step of one metric on the job's images, including the explanations that the metric repeats.

    A metric repeats explanations for other images or for changed classifiers. For other images, perturbations are drawn
    again. In both cases the classifier processes all perturbations again. For each changed classifier, statistics of
    training images are computed again, except stored parts.

    Args: paid: the part of the metric's cost per image that is counted for another metric.
    """
    shape, explainer, drawn = job.parts.dataset.shape, job.parts.explainer, job.parts.n_perturbations
    n = min(job.selection.n_asked, metric.n_images or job.selection.n_asked)
    cost = n * (metric.cost(shape, drawn) - paid)
    asks, at_most = list_asks(job, metric, cost), cost.at_most
    moved, changed = metric.explanations(job.parts.classifier)
    if repeated := n * (moved + changed):
        cost = repeated * explainer.cost(shape)
        asks, at_most = asks + list_asks(job, explainer, cost), at_most or cost.at_most
        redrawn = n * moved * job.parts.sampler.cost(drawn) if job.parts.perturbs else Cost()
        asks += list_asks(job, job.parts.sampler, redrawn + Cost(queries=repeated * drawn))
        if explainer.fits and changed:
            cost = changed * explainer.fit_cost(len(job.parts.dataset.at("train")))
            asks += list_asks(job, explainer, cost, backward=False)
            at_most |= cost.bytes > 0 or cost.at_most
    notes = [FEWER] if at_most else []
    if repeats := len(metric.overrides()):
        notes.append(f"compares {repeats} explanations of each image")
    return Step(f"metric {name}", n, asks, note="; ".join(notes), at_most=at_most)


def drop_missing_weights(config: Any, dataset: Any, outputs: str, missing: list[str]) -> Any:
    """A config that can be built without a training: networks without fitting weights stay untrained.

    Args: missing: the names of these networks are appended to it.
    """

    def without_weights(node: Mapping[str, Any]) -> Mapping[str, Any]:
        if has_weights(node, dataset, outputs):
            return node
        missing.append(short_name(node))
        return {**node, "weights": None}

    return map_nodes(config, without_weights)
