"""The rules of a role as parametrised tests: each component of the package under each rule."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pomelo_lab.config.entry import CONF
from pomelo_lab.conformance.tiny import tried
from pomelo_lab.conformance.trial import NotAsked, Trial


def names(role: str) -> list[str]:
    """The yaml files of a role."""
    return [path.stem for path in sorted(Path(CONF, role).glob("*.yaml")) if path.stem != "none"]


def each(role: str, slow: tuple[str, ...] = (), left_out: Mapping[str, str] | None = None) -> Any:
    """Parametrises a test over (name, rule).

    Args: slow: names for `make test-all`. left_out: names that are not tried, with the reason.
    """
    rules = importlib.import_module(f"pomelo_lab.conformance.{role}").RULES
    return pytest.mark.parametrize(
        ("name", "rule"),
        [
            pytest.param(name, rule, id=f"{name}-{rule.__name__}", marks=[pytest.mark.slow] if name in slow else [])
            for name in names(role)
            if name not in (left_out or {})
            for rule in rules
        ],
    )


@functools.lru_cache(maxsize=1)  # pytest goes through all rules of a name before the next
def trial(role: str, name: str, *overrides: str) -> Trial:
    """A component in its tiny job, once for all rules."""
    return tried(role, name, *overrides)


def keep(rule: Any, tried_component: Trial) -> None:
    """Fails where a rule is broken; what a rule does not ask of a component is kept."""
    try:
        rule(tried_component)
    except NotAsked:
        return
