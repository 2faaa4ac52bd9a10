"""A component on trial, and what becomes of it under a rule."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.signature import Component

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

PACKAGE = Path(__file__).resolve().parents[1]


class Broken(AssertionError):
    """What a component does against a rule, in words."""


class NotAsked(Exception):
    """Why a rule says nothing about a component."""


@dataclass(frozen=True, eq=False)
class Trial:
    """A component with what it is tried on.

    component: of any role. job: the tiny job that it is part of; data sets and segmenters are tried without.
    key: where its node stands in the job's config ("sampler", "metrics.mine"). node: its resolved yaml.
    memory: what the rules of one trial share, so that a slow component runs as rarely as possible.
    """

    component: Component
    job: Job | None = None
    key: str = ""
    node: Mapping[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What one rule computed and another uses. An error breaks the first of these rules; the others are skipped."""
        failed = self.memory.setdefault("failed", set())
        if name in failed:
            raise NotAsked("not tried: the error above comes first")
        if name not in self.memory:
            failed.add(name)
            self.memory[name] = make()
            failed.remove(name)
        return self.memory[name]


Rule = Callable[[Trial], None]


@dataclass(frozen=True)
class Verdict:
    """state: "pass", "fail" or "skip". why: nothing for a pass."""

    rule: str
    state: str
    why: str = ""


def ensure(holds: bool, why: str) -> None:
    """Raises Broken, in words, where something does not hold."""
    if not holds:
        raise Broken(why)


def title(rule: Rule) -> str:
    """What a rule demands: the first paragraph of its docstring, in one line."""
    return " ".join((rule.__doc__ or rule.__name__).partition("\n\n")[0].split()).removesuffix(".")


def judge(rules: Sequence[Rule], trial: Trial) -> Iterator[Verdict]:
    """One verdict per rule."""
    return (judged(rule, trial) for rule in rules)


def judged(rule: Rule, trial: Trial) -> Verdict:
    """Tries one rule; an error of the component breaks the rule under which it is raised."""
    try:
        rule(trial)
    except NotAsked as reason:
        return Verdict(title(rule), "skip", str(reason))
    except Broken as broken:
        return Verdict(title(rule), "fail", str(broken))
    except Exception as error:  # noqa: BLE001 (whatever the component raises)
        return Verdict(title(rule), "fail", f"{type(error).__name__}: {error} ({where(error)})")
    return Verdict(title(rule), "pass")


def where(error: Exception) -> str:
    """The last line of the user's code that an error went through, else of this package, else its last line."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    outside = [frame for frame in frames if frame not in ours and not frame.filename.startswith(libraries)]
    frame = (outside or ours or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"
