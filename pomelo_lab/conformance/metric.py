"""What every metric does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from unittest.mock import patch

import torch
from torch import Tensor

from pomelo_lab.classifier.base import view
from pomelo_lab.conformance.compare import ensure_same, split_batch, tensors_in, untouched
from pomelo_lab.conformance.cost import ensure_planned
from pomelo_lab.conformance.mirror import mirrors_the_constructor
from pomelo_lab.conformance.trial import Broken, NotAsked, Trial, ensure
from pomelo_lab.conformance.watch import beyond, gradients, unread, watched
from pomelo_lab.engine.explain_again import ExplainAgain
from pomelo_lab.engine.plan import plan_steps
from pomelo_lab.explainer.case import Case

CLOSE = 1e-4  # of the largest value: a score sums over many pixels


def name_of(trial: Trial) -> str:
    """The metric's key in its job."""
    return trial.key.partition(".")[2]


def scored(trial: Trial) -> Mapping[str, Tensor]:
    """The job's images, scored once for all rules; notes the case, what was read of it, costs and gradients."""

    def make() -> Mapping[str, Tensor]:
        job, memory = trial.job, trial.memory
        seen, score = memory.setdefault("seen", set()), trial.component.score

        def noted(case: Case) -> Mapping[str, Tensor]:
            memory["case"] = case
            try:
                with untouched(case=case):
                    made = score(watched(case, seen))
            except Broken as touched:
                memory["touched"] = touched
            return made

        job.clean(0)
        if job.parts.perturbs:
            job.perturbations(0, probability=True)
        if job.parts.explains:
            job.explanation(0)
        with gradients(job) as memory["through"], patch.object(trial.component, "score", noted):
            memory["shard"] = job.score(name_of(trial), 0)
        return memory["shard"].tensors

    return trial.once("scored", make)


def scores_each_image(trial: Trial) -> None:
    """`score` gives tensors [B,...]; the value of an image is a number, or NaN where undefined."""
    made, n = scored(trial), len(trial.memory["case"])
    for name, tensor in made.items():
        ensure(tensor.shape[:1] == (n,), f"{name} is {tuple(tensor.shape)}, for {n} images")
        ensure(not bool(tensor.isinf().any()), f"{name} is infinite")
    if "value" in made:
        ensure(made["value"].shape == (n,), f"value is {tuple(made['value'].shape)}, for {n} images")


def leaves_its_inputs_alone(trial: Trial) -> None:
    """Images, explanations and the rest of a case are not changed in place, nor is the global random generator used."""
    scored(trial)
    if "touched" in trial.memory:
        raise trial.memory["touched"]


def does_not_depend_on_the_batch(trial: Trial) -> None:
    """The score of an image is the same in any batch and any order; `partners` names the other image it depends on."""
    whole, metric, n = scored(trial), trial.component, len(trial.memory["case"])
    if metric.unit == "s":
        raise NotAsked("it measures time, which is never the same twice")
    partners = metric.partners(n)
    batches = split_batch(n) if partners is None else [[1, 0], [1, 2]]
    for rows in (rows for rows in batches if max(rows) < n):
        beside = metric.partners(len(rows))
        # images that have the same partner in the smaller batch
        kept = [i for i, row in enumerate(rows) if partners is None or rows[beside[i]] == partners[row]]
        made = scored_alone(trial, rows)
        for name, tensor in tensors_in(whole):
            if made[name].shape[1:] != tensor.shape[1:]:
                raise NotAsked(f"{name} is padded to the largest of a batch")
            same = [rows[i] for i in kept]
            ensure_same(tensor[same], made[name].cpu()[kept], f"{name} of images {same}", close=CLOSE)


def scored_alone(trial: Trial, rows: list[int]) -> Mapping[str, Tensor]:
    """The scores of some of the job's images, as a batch of their own and in this order."""
    job, metric = trial.job, trial.component
    classifier = view(job.parts.classifier, metric.access, 2, job.parts.device)
    again = ExplainAgain(job, 0, rows, classifier) if "explain_again" in metric.needs else None
    return metric.score(replace(trial.memory["case"].select(rows), classifier=classifier, explain_again=again))


def reads_what_it_needs(trial: Trial) -> None:
    """`needs` names what it looks at, and nothing more that costs time."""
    scored(trial)
    more = beyond(trial.memory["seen"], trial.component.needs)
    ensure(not more, f"it looks at {', '.join(more)}, which it does not declare")
    less = unread(trial.memory["seen"], trial.component.needs)
    ensure(not less, f"it asks for {', '.join(less)} and does not look at it")


def costs_what_it_declares(trial: Trial) -> None:
    """Queries and evaluations are those of the plan."""
    scored(trial)
    planned = {step.name: step for step in plan_steps(trial.job)}
    ensure_planned(planned[f"metric {name_of(trial)}"], [trial.memory["shard"]])


def asks_without_gradients(trial: Trial) -> None:
    """No gradient goes through a network, but in explanations that are made again."""
    scored(trial)
    explains = trial.component.overrides() or {"explain_again", "explanations"} & trial.component.needs
    ensure(bool(explains) or not trial.memory["through"], f"it differentiates {', '.join(trial.memory['through'])}")


def sums_up(trial: Trial) -> None:
    """`summarize` gives one number; what is NaN is counted and not averaged."""
    made = {name: tensor.clone() for name, tensor in scored(trial).items()}
    if "value" not in made:
        raise NotAsked("it is a statistic of the set")
    n = len(made["value"])
    made["value"] = made["value"].double()
    made["value"][0] = torch.nan
    summary = trial.component.summarize(made, trial.memory["case"].reference)
    ensure(
        summary.n + summary.n_nan <= n and summary.mean == summary.mean or not summary.n, f"of {n} images: {summary}"
    )


RULES = (
    mirrors_the_constructor,
    scores_each_image,
    leaves_its_inputs_alone,
    does_not_depend_on_the_batch,
    reads_what_it_needs,
    costs_what_it_declares,
    asks_without_gradients,
    sums_up,
)
