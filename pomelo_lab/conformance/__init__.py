"""The rules that every component keeps, by role, for the components of this package and for those from outside.

`python -m pomelo_lab.conformance --config-dir DIR sampler=mine` tries one component on tiny images with untrained
networks. A rule is a function of a `Trial` that raises `Broken`; the first line of its docstring says what holds.
"""

from __future__ import annotations

from collections.abc import Sequence


def broken(role: str, name: str, *overrides: str, folders: Sequence[str] = ()) -> list[str]:
    """The rules that a component breaks, each with the reason; none for a component that keeps them.

    Args: role, name: as in `sampler=mine`. overrides: further keys of its tiny job. folders: config folders of yours.
    """
    from importlib import import_module

    from pomelo_lab.conformance.tiny import tried
    from pomelo_lab.conformance.trial import judge

    rules = import_module(f"{__name__}.{role}").RULES
    verdicts = judge(rules, tried(role, name, *overrides, folders=folders))
    return [f"{verdict.rule}: {verdict.why}" for verdict in verdicts if verdict.state == "fail"]
