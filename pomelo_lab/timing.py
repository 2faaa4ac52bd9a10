"""How long one forward of a network takes here, for the time that a plan foretells: measured once per network and process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pomelo_lab.classifier.base import Classifier, NetworkClassifier, WhiteBox, view
from pomelo_lab.generator.base import Generator, Tally

CALLS = 3
LONG = 2.0  # seconds after which a call is not repeated
AT_ONCE = 16  # images of the measured forward
SLOW = 0.25  # seconds that a forward of one image may take before more than one are tried
_measured: WeakKeyDictionary[nn.Module, dict[str, float]] = WeakKeyDictionary()


def per_query(classifier: Classifier, shape: tuple[int, int, int], batch_size: int, device: torch.device, gradients: bool) -> float | None:
    """Seconds per image of a forward, of a forward and backward with `gradients`; None for a function of the user's, which is not asked."""
    if not isinstance(classifier, NetworkClassifier):
        return None
    access = "white_box" if gradients else "black_box"
    box = view(classifier, access, batch_size, device)

    def ask(images: Tensor) -> None:
        if isinstance(box, WhiteBox):
            given = images.requires_grad_(True)
            torch.autograd.grad(box.logit(given).sum(), given)
        else:
            box.probability(images)

    return once(classifier.network, access, lambda n: measure(ask, shape, n, device), batch_size)


def per_evaluation(generator: Generator, batch_size: int, device: torch.device) -> float:
    """Seconds per image of one forward of a generator's network, without gradients."""

    def measured(n: int) -> float:
        before, made = Tally.n, []

        def ask(images: Tensor) -> None:
            start = Tally.n
            generator.one_forward(images)
            made.append(Tally.n - start)

        with torch.no_grad():
            seconds = measure(ask, generator.shape, n, device)
        Tally.n = before  # measuring counts for nothing
        return seconds * n / max(1, made[-1])

    return once(generator.network, "forward", measured, batch_size)


def once(network: nn.Module, what: str, measured: Callable[[int], float], batch_size: int) -> float:
    """One image first, and more at once where that is fast."""
    known = _measured.setdefault(network, {})
    if what not in known:
        known[what] = measured(1)
        if known[what] < SLOW and (n := min(batch_size, AT_ONCE)) > 1:
            known[what] = measured(n)
    return known[what]


def measure(ask: Callable[[Tensor], Any], shape: tuple[int, int, int], n: int, device: torch.device) -> float:
    """Seconds per image of a call on n gray images: the least of CALLS, since the first prepares and others may disturb; a long one is the last."""
    images, seconds = torch.full((n, *shape), 0.5, device=device), []
    for _ in range(CALLS):
        start = time.perf_counter()
        ask(images.clone())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
        if seconds[-1] > LONG:
            break
    return min(seconds) / n


def generator_of(component: Any) -> Generator | None:
    """The generator that a component, or one inside it, holds."""
    if isinstance(component, Generator):
        return component
    held = (getattr(component, field.name, None) for field in fields(component)) if is_dataclass(component) else ()
    return next((found for part in held if is_dataclass(part) and (found := generator_of(part)) is not None), None)


def told(seconds: float | None) -> str:
    """A time for people: "3 s", "12 min", "5.1 h"; "?" where it is not known."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
