"""What a job would do: images, network evaluations, classifier queries, bytes on disk, and about how long the networks
take.

One rule counts here and in what a job records (`EvaluationCounter`, `BlackBox.queries`):
- A query is an image that the classifier is asked about, an evaluation is an image that a generator's network is asked
  about. Copies that fill a batch (`in_full_rows`) are neither, and a backward is no query of its own.
- What is stored is counted once, where it is made: the plan is that of an empty store.
- What is not stored is counted for the metric that asks for it: explanations made anew, statistics of a changed
    classifier.
Bytes are those of images, maps and the classifier's answers. Nothing is computed, but for the forwards by which time is
foretold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.config.signature import Component
from pomelo_lab.config.tree import mapped
from pomelo_lab.devices import NoSuchDevice, pick_device
from pomelo_lab.engine.job import Job
from pomelo_lab.engine.store import Store
from pomelo_lab.metric.base import Metric

ANSWER_BYTES = 4  # probabilities are float32
SHARED = "of training images, once for all jobs that share them"
FEWER = "fewer where images are equal or end early"


@dataclass(frozen=True)
class Ask:
    """Images that one network is asked about.

    kind: "evaluations" of a generator or "queries" of the classifier. backward: whether gradients go through the
        network.
    """

    kind: str
    n: int
    network: Any = None
    backward: bool = False


@dataclass(frozen=True)
class Step:
    """One stage of the plan; totals over all images of the job.

    at_most: whether its counts are an upper limit. seconds: of the networks' forwards and backwards, None where that is
        not known.
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


def planned(config: Mapping[str, Any], store: Store) -> tuple[Job, list[Step], list[str]]:
    """A job whose networks need no weights, its timed stages, and the networks that it would train first.

    A device that this machine does not have can be planned for; how long it takes is not known then.
    Raises: ValueError, before anything is timed, for what the job itself would be refused for before its first image.
    """
    from pomelo_lab.engine.timing import seconds

    missing: list[str] = []
    settings = untrained(config, config["dataset"], config["paths"]["outputs"], missing)
    try:
        device: Any = pick_device(config["device"])
    except NoSuchDevice:
        device = None
    job = Job(settings, store, device or "cpu")
    job.parts.check_network()
    job.parts.check_data()

    def timed(step: Step) -> Step:
        each = [seconds(ask, job) if device else None for ask in step.asks]
        return replace(step, seconds=None if None in each else sum(each))

    return job, [timed(step) for step in steps(job)], list(dict.fromkeys(missing))


def total(plan: Sequence[Step], name: str, images: int, note: str = "", at_most: bool = False) -> Step:
    """All steps as one, without their networks; its time is not known where one of theirs is not."""
    asks = (Ask(kind, sum(getattr(step, kind) for step in plan)) for kind in ("evaluations", "queries"))
    times = [step.seconds for step in plan]
    seconds, size = None if None in times else sum(times), sum(step.bytes for step in plan)
    return Step(name, images, tuple(asks), size, note, at_most or any(step.at_most for step in plan), seconds)


def steps(job: Job) -> list[Step]:
    """The stages of a job with their costs as the components state them."""
    n, plan = job.selection.n_asked, []
    if job.selection.chooses:
        size = len(job.parts.dataset)
        note = "until enough images are answered right"
        plan.append(Step("choice of images", size, asked(job, None, 0, size), answer_bytes(job, size), note, True))
    plan.append(Step("clean images", n, asked(job, None, 0, n), answer_bytes(job, n)))
    plan += explaining(job).values()
    plan += compared(job)
    plan += measured(job)
    return plan + [scored(job, name, metric) for name, metric in job.parts.metrics.items()]


def asked(job: Job, component: Any, evaluations: int, queries: int, backward: bool = True) -> tuple[Ask, ...]:
    """What a component asks of its generator (else of the job's) and of the job's classifier.

    Args: backward: False for what it asks without gradients, whatever it differentiates elsewhere.
    """
    through = getattr(component, "differentiates", frozenset()) if backward else frozenset()
    generator = (generator_of(component) or job.parts.generator) if evaluations else None
    asks = (
        Ask("evaluations", evaluations, generator, "generator" in through),
        Ask("queries", queries, job.parts.classifier, "classifier" in through),
    )
    return tuple(ask for ask in asks if ask.n)


def generator_of(component: Any) -> Any:
    """The generator that a component, or one inside it, holds."""
    from pomelo_lab.generator.base import Generator

    if isinstance(component, Generator):
        return component
    held = vars(component).values() if isinstance(component, Component) else ()
    return next((inner for part in held if (inner := generator_of(part)) is not None), None)


def answer_bytes(job: Job, n: int) -> int:
    """Size of the classifier's answers to n images."""
    return n * job.parts.dataset.num_classes * ANSWER_BYTES


def explaining(job: Job) -> dict[str, Step]:
    """From perturbations to explanations, by kind of artefact; "statistics" are the explainer's."""
    parts, n, plan = job.parts, job.selection.n_asked, {}
    shape, explainer = parts.dataset.shape, parts.explainer
    if parts.perturbs:
        made, kept = n * parts.n_perturbations, job.keeps_perturbations
        note = "" if kept else f"not kept: over keep_gb={job.config['keep_gb']:g}"
        asks = asked(job, parts.sampler, n * parts.sampler.evaluations(parts.n_perturbations), 0)
        plan["perturbation"] = Step("perturbations", n, asks, job.perturbation_bytes if kept else 0, note)
        if parts.explains or any({"classifier", "perturbations"} <= metric.needs for metric in parts.metrics.values()):
            plan["prediction"] = Step("predictions", n, asked(job, None, 0, made), answer_bytes(job, made))
    if parts.explains and explainer.fits:
        *costs, size = explainer.fit_costs(len(parts.dataset.at("train")))
        plan["statistics"] = Step("statistics", 0, asked(job, explainer, *costs, backward=False), size, SHARED)
    if parts.explains:
        asks = asked(job, explainer, n * explainer.evaluations(shape), n * explainer.queries(shape))
        early = explainer.costs_at_most
        plan["explanation"] = Step(
            "explanations", n, asks, n * explainer.stored_bytes(shape), FEWER if early else "", early
        )
    return plan


def compared(job: Job) -> list[Step]:
    """The explanations by other settings that metrics compare with the job's own.

    What they share with it or each other is made once.
    """
    others = [sibling for metric in job.parts.metrics.values() for sibling in job.siblings(metric)]
    plan: dict[tuple[str, str], Step] = {}
    for asker in (job, *others) if others else ():
        provenance = asker.provenance
        for kind, step in explaining(asker).items():
            made_from = provenance.statistics if kind == "statistics" else provenance.stages[kind]
            plan.setdefault((kind, digest(made_from)), step)
    more = list(plan.values())[len(explaining(job)) :]
    n = sum(step.name == "explanations" for step in more)
    if not more:
        return []
    asks = tuple(ask for step in more for ask in step.asks)
    note, at_most = "other settings, which metrics compare", any(step.at_most for step in more)
    return [
        Step(f"{n} more explanations", job.selection.n_asked, asks, sum(step.bytes for step in more), note, at_most)
    ]


def measured(job: Job) -> list[Step]:
    """The statistics of training images for which metrics ask a network; metrics with the same ones share them."""
    plan: dict[str, Step] = {}
    for name, metric in job.parts.metrics.items():
        if metric.fits and any(costs := metric.fit_costs(len(job.parts.dataset.at("train")))):
            key = digest(job.provenance.metric_arguments(name))
            plan.setdefault(key, Step(f"statistics {name}", 0, asked(job, metric, *costs), note=SHARED))
    return list(plan.values())


def scored(job: Job, name: str, metric: Metric) -> Step:
    """One metric on the job's images, with the explanations that it makes anew, for other images or changed
    classifiers.

    Perturbations are drawn anew for other images alone, and answered anew for all. Statistics are measured anew for
    each changed classifier, but for their stored parts.
    """
    shape, explainer, drawn = job.parts.dataset.shape, job.parts.explainer, job.parts.n_perturbations
    n = min(job.selection.n_asked, metric.n_images or job.selection.n_asked)
    asks, at_most = (
        asked(job, metric, n * metric.evaluations(shape), n * metric.queries(shape, drawn)),
        metric.costs_at_most,
    )
    moved, changed = metric.explanations(job.parts.classifier)
    if anew := n * (moved + changed):
        asks += asked(job, explainer, anew * explainer.evaluations(shape), anew * explainer.queries(shape))
        asks += asked(
            job,
            job.parts.sampler,
            n * moved * job.parts.sampler.evaluations(drawn) if job.parts.perturbs else 0,
            anew * drawn,
        )
        at_most |= explainer.costs_at_most
        if explainer.fits and changed:
            *costs, parts = explainer.fit_costs(len(job.parts.dataset.at("train")))
            asks += asked(job, explainer, *(changed * cost for cost in costs), backward=False)
            at_most |= parts > 0
    notes = [FEWER] if at_most else []
    if repeats := len(metric.overrides()):
        notes.append(f"compares {repeats} explanations of each image")
    return Step(f"metric {name}", n, asks, note="; ".join(notes), at_most=at_most)


def untrained(config: Any, dataset: Any, outputs: str, missing: list[str]) -> Any:
    """A config that can be built without training: networks that have no weights yet stay untrained, their names go to
    `missing`."""
    from pomelo_lab.training.train import short_name
    from pomelo_lab.training.trained import has_weights

    def without_weights(node: Mapping[str, Any]) -> Mapping[str, Any]:
        if has_weights(node, dataset, outputs):
            return node
        missing.append(short_name(node))
        return {**node, "weights": None}

    return mapped(config, without_weights)
