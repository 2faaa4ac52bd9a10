"""What every explainer does."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from unittest.mock import patch

import torch

from pomelo_lab.classifier.base import view
from pomelo_lab.conformance.compare import ensure_same, split_batch, untouched
from pomelo_lab.conformance.cost import ensure_all_is_planned, ensure_stages_are_planned
from pomelo_lab.conformance.mirror import mirrors_the_constructor
from pomelo_lab.conformance.trial import Broken, Trial, ensure
from pomelo_lab.conformance.watch import beyond, gradients, unread, watched
from pomelo_lab.engine.plan import find_generator
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.types import Explanation

CLOSE = 1e-5  # of the largest value: kernels sum in another order for another number of rows


def explained(trial: Trial) -> Explanation:
    """The job's images, explained once for all rules; notes the case, what was read of it, costs and gradients."""

    def make() -> Explanation:
        memory, explain = trial.memory, trial.component.explain
        seen = memory.setdefault("seen", set())

        def noted(case: Case) -> Explanation:
            memory["case"] = case
            given = replace(case, batch=replace(case.batch, image=case.batch.image.clone()))
            try:
                with untouched(case=given):
                    memory["made"] = explain(watched(given, seen))
            except Broken as touched:
                memory["touched"] = touched
            return memory["made"]

        # `check` looks at the network, which is not what the method does
        with patch.object(Explainer, "check"), patch.object(trial.component, "explain", noted):
            with gradients(trial.job) as memory["through"]:
                trial.job.explanation(0)
        return memory["made"]

    return trial.once("explained", make)


def explains_each_image(trial: Trial) -> None:
    """`gives` says what it gives: finite maps [B,H,W], images [B,C,H,W] in [0,1]."""
    made, image = explained(trial), trial.memory["case"].batch.image
    ensure(torch.equal(made.target.cpu(), trial.memory["case"].target.cpu()), "it explains another class")
    if made.attribution is not None:
        ensure(made.attribution.shape == image[:, 0].shape, f"maps are {tuple(made.attribution.shape)}")
        ensure(bool(made.attribution.isfinite().all()), "a map is not finite")
    if made.counterfactual is not None:
        least, most = float(made.counterfactual.min()), float(made.counterfactual.max())
        ensure(made.counterfactual.shape == image.shape, f"counterfactuals are {tuple(made.counterfactual.shape)}")
        ensure(0 <= least and most <= 1, f"counterfactuals from {least:g} to {most:g}")
    given = {name for name in ("attribution", "counterfactual") if getattr(made, name) is not None}
    said = trial.component.gives_for(vars(trial.component))
    ensure(bool(given), "it gives neither a map nor a counterfactual")
    ensure(
        said is None or given == said - {"coefficient"}, f"`gives` says {sorted(said or ())}, it gives {sorted(given)}"
    )
    for name, tensor in made.extra.items():
        ensure(len(tensor) == len(image), f"extra {name} is {tuple(tensor.shape)}, for {len(image)} images")


def leaves_its_inputs_alone(trial: Trial) -> None:
    """Images, segments and perturbations are not changed in place, nor is the global random generator used."""
    explained(trial)
    if "touched" in trial.memory:
        raise trial.memory["touched"]


def does_not_depend_on_the_batch(trial: Trial) -> None:
    """The explanation of an image is the same in any batch and any order."""
    whole, case = explained(trial), trial.memory["case"]
    for rows in split_batch(len(case)):
        part = trial.memory[f"part {rows}"] = explained_in_batches(trial, case.select(rows), 1)
        for name, made in (("attribution", whole.attribution), ("counterfactual", whole.counterfactual)):
            if made is not None:
                ensure_same(made[rows], getattr(part, name), f"the {name} of images {rows}", close=CLOSE)


def explained_in_batches(trial: Trial, case: Case, batch_size: int) -> Explanation:
    """The explanation of a case by networks that are asked about so many images at once."""
    parts = trial.job.parts
    generator = find_generator(trial.component)
    asked = patch.object(generator.forwards, "batch_size", batch_size) if generator else nullcontext()
    with asked, patch.object(Explainer, "check"):
        black_box = view(parts.classifier, trial.component.access, batch_size, parts.device)
        return trial.component.explain(replace(case, classifier=black_box))


def reads_what_it_needs(trial: Trial) -> None:
    """`needs` names what it looks at, and nothing more that costs time."""
    explained(trial)
    needs = trial.component.needs
    more = beyond(trial.memory["seen"], needs | {"classifier"})
    ensure(not more, f"it looks at {', '.join(more)}, which it does not declare")
    less = unread(trial.memory["seen"], needs)
    ensure(not less, f"it asks for {', '.join(less)} and does not look at it")


def costs_what_it_declares(trial: Trial) -> None:
    """Queries, evaluations and bytes are those of the plan, statistics included."""
    explained(trial)
    ensure_stages_are_planned(trial.job)
    ensure_all_is_planned(trial.job)


def honours_its_access(trial: Trial) -> None:
    """Gradients go through declared networks alone, and through no black box."""
    explained(trial)
    through, declared = trial.memory["through"], trial.component.differentiates
    ensure(through <= declared, f"it differentiates {', '.join(sorted(through - declared))}, which it does not declare")
    ensure(trial.component.access == "white_box" or "classifier" not in through, "it differentiates a black box")


RULES = (
    mirrors_the_constructor,
    explains_each_image,
    leaves_its_inputs_alone,
    does_not_depend_on_the_batch,
    reads_what_it_needs,
    costs_what_it_declares,
    honours_its_access,
)
