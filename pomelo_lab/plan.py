"""What a job would do: images, network evaluations, classifier queries, bytes on disk, and about how long the networks take.

Nothing is computed, but for a forward of each network by which its time is foretold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pomelo_lab.config.fingerprint import digest
from pomelo_lab.devices import NoSuchDevice, pick_device
from pomelo_lab.job import Job
from pomelo_lab.metric.base import Metric
from pomelo_lab.results.store import Store

IMAGE_BYTES = 4  # explanations and scores are float32
HEADS = ("images", "network evaluations", "classifier queries", "on disk", "time")
CAPTION = "time: of the networks, from one forward of each; metrics and explainers compute beside that"


@dataclass(frozen=True)
class Step:
    """One stage of the plan; totals over all images of the job. seconds: of the networks' forwards and backwards, None where that is not known."""

    name: str
    images: int
    evaluations: int = 0
    queries: int = 0
    bytes: int = 0
    note: str = ""
    seconds: float | None = 0.0


def timed(step: Step, job: Job, component: Any = None, gradients: bool = False) -> Step:
    """The step with the time that its evaluations and queries take.

    Args: component: what holds the generator that is evaluated, None = the job's. gradients: whether a query is a forward and a backward.
    """
    from pomelo_lab.timing import generator_of, per_evaluation, per_query

    seconds: float | None = 0.0
    if step.queries:
        query = per_query(job.classifier, job.dataset.shape, job.batch_size, job.device, gradients)
        seconds = None if query is None else step.queries * query
    generator = (generator_of(component) or job.generator) if step.evaluations else None
    if step.evaluations and seconds is not None:
        seconds = None if generator is None else seconds + step.evaluations * per_evaluation(generator, job.batch_size, job.device)
    return replace(step, seconds=seconds)


def timed_steps(job: Job) -> list[Step]:
    """The stages with their times; what a metric or another setting evaluates beside its own generator counts as the job's."""
    components = {"perturbations": job.sampler, "explanations": job.explainer, "statistics": job.explainer}
    components |= {f"metric {name}": metric for name, metric in job.metrics.items()}
    white = {name for name, part in components.items() if getattr(part, "access", "") == "white_box"}
    return [timed(step, job, components.get(step.name), step.name in white) for step in steps(job)]


def planned(config: Mapping[str, Any], store: Store) -> tuple[Job, list[Step], list[str]]:
    """A job whose networks need no weights, its stages, and the networks that it would train first.

    A device that this machine does not have can be planned for; how long it takes is not known then.
    Raises: ValueError, before anything is timed, for what the job itself would be refused for before its first image.
    """
    missing: list[str] = []
    settings = untrained(config, config["dataset"], config["paths"]["outputs"], missing)
    try:
        device: Any = pick_device(config["device"])
    except NoSuchDevice:
        device = None
    job = Job(settings, store, device or "cpu")
    job.check_network()
    job.check_data()
    plan = timed_steps(job) if device else [replace(step, seconds=None) for step in steps(job)]
    return job, plan, list(dict.fromkeys(missing))


def total(plan: Sequence[Step], key: str) -> Any:
    """The sum of a count or of the times, None where one of them is not known."""
    values = [getattr(step, key) for step in plan]
    return None if None in values else sum(values)


def steps(job: Job) -> list[Step]:
    """The stages of a job with their costs as the components state them; stored artefacts are not subtracted."""
    n, shape = job.n_asked, job.dataset.shape
    answers = n * job.dataset.num_classes * IMAGE_BYTES
    plan = [Step("choice of images", n, queries=n, bytes=answers, note="at least: those it gets wrong are asked too")] if job.chooses else []
    plan.append(Step("clean images", n, queries=n, bytes=answers))
    plan += explaining(job)
    plan += compared(job)
    for name, metric in job.metrics.items():
        images = min(n, metric.n_images or n)
        note = "fits training statistics once" if metric.fits else ""
        if repeats := len(metric.overrides()):
            note = f"compares {repeats} explanations of each image"
        evaluations, queries = again(job, metric, images)
        evaluations, queries = evaluations + images * metric.evaluations(shape), queries + images * metric.queries(shape, job.n_perturbations)
        if metric.costs_at_most or (any(metric.explanations(job.classifier)) and job.explainer.costs_at_most):
            note = f"at most; {note}".rstrip("; ")
        plan.append(Step(f"metric {name}", images, evaluations, queries, images * IMAGE_BYTES, note))
    return plan


def again(job: Job, metric: Metric, images: int) -> tuple[int, int]:
    """Generator evaluations and classifier queries of the explanations that a metric makes anew, for other images or changed classifiers.

    Perturbations are drawn anew for other images alone, and answered anew for all; statistics are measured anew for each changed classifier.
    """
    moved, changed = metric.explanations(job.classifier)
    if not moved + changed:
        return 0, 0
    shape, explainer = job.dataset.shape, job.explainer
    fitted = explainer.fit_costs(len(job.dataset.at("train"))) if explainer.fitted and changed else (0, 0)
    drawn = job.sampler.evaluations(job.n_perturbations) if job.perturbs else 0
    evaluations = images * ((moved + changed) * explainer.evaluations(shape) + moved * drawn) + changed * fitted[0]
    return evaluations, images * (moved + changed) * (explainer.queries(shape) + job.n_perturbations) + changed * fitted[1]


def explaining(job: Job) -> list[Step]:
    """From perturbations to explanations."""
    n, shape, plan = job.n_asked, job.dataset.shape, []
    if job.perturbs:
        made = n * job.n_perturbations
        kept = job.keeps_perturbations
        note = "" if kept else f"not kept: over keep_gb={job.config['keep_gb']:g}"
        size = job.perturbation_bytes if kept else 0
        plan.append(Step("perturbations", n, n * job.sampler.evaluations(job.n_perturbations), 0, size, note))
        if job.explains or any("classifier" in m.needs for m in job.metrics.values()):
            plan.append(Step("predictions", n, 0, made, made * job.dataset.num_classes * IMAGE_BYTES))
    if job.explains and job.explainer.fitted:
        costs = job.explainer.fit_costs(len(job.dataset.at("train")))
        plan.append(Step("statistics", 0, *costs, note="once for all jobs that share them"))
    if job.explains:
        evaluations, queries = job.explainer.evaluations(shape), job.explainer.queries(shape)
        note = "at most: images that have what they need end earlier" if job.explainer.costs_at_most else ""
        plan.append(Step("explanations", n, n * evaluations, n * queries, explanation_bytes(job, n), note))
    return plan


def explanation_bytes(job: Job, n: int) -> int:
    """Size of n maps and counterfactuals. What explainers store beside them (a loss per step, other readings of a map) is not planned."""
    channels, height, width = job.dataset.shape
    gives = job.explainer.given_by(vars(job.explainer)) or frozenset({"attribution"})
    images = 1 + channels * ("counterfactual" in gives)
    return n * images * height * width * IMAGE_BYTES


def compared(job: Job) -> list[Step]:
    """The explanations that metrics compare with the job's own, made by other settings: each once, summed up."""
    others = {digest(s.explanation_science): s for metric in job.metrics.values() for s in job.siblings(metric)}
    others.pop(digest(job.explanation_science) if job.explains else "", None)
    parts = [explaining(other) for other in others.values()]
    if not parts:
        return []
    totals = [sum(getattr(step, key) for part in parts for step in part) for key in ("evaluations", "queries", "bytes")]
    return [Step(f"{len(parts)} more explanations", job.n_asked, *totals, note="other settings, which metrics compare")]


def untrained(node: Any, dataset: Any, outputs: str, missing: list[str]) -> Any:
    """A config that can be built without training: networks that have no weights yet stay untrained, their names go to `missing`."""
    from pomelo_lab.train import short_name
    from pomelo_lab.weights import has_weights

    if not isinstance(node, Mapping):
        return node
    found = {key: untrained(value, dataset, outputs, missing) for key, value in node.items()}
    if "_target_" in node and not has_weights(node, dataset, outputs):
        missing.append(short_name(node))
        found["weights"] = None
    return found


def print_plan(config: Mapping[str, Any], store: Store) -> None:
    """The plan as a table on the terminal."""
    from rich.console import Console
    from rich.table import Table

    from pomelo_lab.timing import told

    job, plan, missing = planned(config, store)
    choices = job.config.get("choices") or {}
    title = " ".join(f"{role}={choices[role]}" for role in ("dataset", "classifier", "sampler", "explainer", "scale") if role in choices)
    table = Table(title=f"plan: {title}", title_justify="left")
    table.add_column("stage")
    for head in HEADS:
        table.add_column(head, justify="right")
    table.add_column("")
    trainings = [Step(f"train {name}", 0, note="no weights yet", seconds=None) for name in missing]
    sums = (total(plan, key) for key in ("evaluations", "queries", "bytes"))
    last = Step("total", job.n_asked, *sums, note="without trainings" if missing else "", seconds=total(plan, "seconds"))
    for step in [*trainings, *plan, last]:
        counts = (f"{step.images:,}", f"{step.evaluations:,}", f"{step.queries:,}", readable(step.bytes), told(step.seconds))
        table.add_row(step.name, *counts, step.note)
    table.caption, table.caption_justify = CAPTION, "left"
    Console(width=120).print(table)


def readable(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
