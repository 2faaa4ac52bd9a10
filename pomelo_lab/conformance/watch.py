"""What a component looks at, and which networks it differentiates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._pytree import tree_leaves

from pomelo_lab.engine.job import Job
from pomelo_lab.engine.plan import find_generator
from pomelo_lab.explainer.case import Case

# what is looked at -> the words of `needs` that allow it
NEEDED_FOR = {
    "classifier": {"classifier", "white_box"},
    "segments": {"segments"},
    "perturbations": {"perturbations"},
    "explanation": {"explanation"},
    "explanations": {"explanations"},
    "explain_again": {"explain_again"},
    "batch.masks": {"masks"},
    "batch.boxes": {"masks", "boxes"},
    "batch.box": {"masks", "boxes"},
    "batch.attributes": {"attributes"},
    "batch.factors": {"factors"},
}


def watched(case: Case, seen: set[str]) -> Case:
    """A case that notes in `seen` what is looked at: its fields, and "batch.<field>" of its images."""
    return watch(replace(case, batch=watch(case.batch, seen, "batch.")), seen)


def watch(value: Any, seen: set[str], prefix: str = "") -> Any:
    """A copy of a frozen dataclass that notes which fields are read, but by its own methods."""
    kind, names = type(value), {f.name for f in fields(value)} | {"box"}

    def noted(self: Any, name: str) -> Any:
        value = object.__getattribute__(self, name)
        by = sys._getframe(1).f_globals.get("__name__")
        if name in names and by not in ("dataclasses", kind.__module__) and not is_empty(value):
            seen.add(f"{prefix}{name}")
        return value

    watching = type(kind.__name__, (kind,), {"__getattribute__": noted})
    return watching(**{f.name: getattr(value, f.name) for f in fields(value)})


def is_empty(value: Any) -> bool:
    """Whether a field holds nothing, so that whoever hands it on looks at nothing."""
    return value is None or (isinstance(value, (tuple, dict)) and not value)


def beyond(seen: set[str], needs: frozenset[str]) -> list[str]:
    """What was looked at without a word of `needs` for it."""
    return sorted(name for name in seen if name in NEEDED_FOR and not NEEDED_FOR[name] & needs)


def unread(seen: set[str], needs: frozenset[str]) -> list[str]:
    """Words of `needs` that make the job compute something at which nobody looked."""
    computed = {"segments", "perturbations", "explanation", "explanations", "explain_again"}
    return sorted(needs & computed - seen)


@contextmanager
def gradients(job: Job) -> Iterator[set[str]]:
    """Which networks gradients go through inside the block: of "classifier" and "generator"."""
    generator, through = find_generator(job.parts.explainer) or job.parts.generator, set()
    network = getattr(job.parts.classifier, "network", None)
    networks = {"classifier": network, "generator": generator and generator.network}
    roles = {module: role for role, network in networks.items() if network for module in network.modules()}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        for tensor in tree_leaves(output) if module in roles else ():
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(lambda gradient: through.add(roles[module]))

    handle = register_module_forward_hook(note)
    try:
        yield through
    finally:
        handle.remove()
