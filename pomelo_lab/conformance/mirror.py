"""What every yaml file of a component says."""

from __future__ import annotations

from typing import Any

from pomelo_lab.config.signature import hints, injected_role, is_later, is_local, locate, parameters
from pomelo_lab.conformance.trial import NotAsked, Trial, ensure


def declared_by(target: type) -> dict[str, type]:
    """Each constructor argument -> the class that declares it first; a subclass may give it another default."""
    classes: dict[str, type] = {}
    for base in reversed(target.__mro__):
        for name in vars(base).get("__annotations__", {}):
            if name in parameters(target):
                classes.setdefault(name, base)
    return classes


def mirrors_the_constructor(trial: Trial) -> None:
    """The yaml writes each own argument, in the order of the constructor.

    Components that the job supplies, places of files, and arguments that older results do not know may be left out.
    """
    if not trial.node:
        raise NotAsked("it was built without a yaml")
    target = locate(trial.node["_target_"])
    classes, known = declared_by(target), hints(target)
    written = [key for key in trial.node if key in known]
    left_out = [
        name for name, base in classes.items() if base is target and name not in written and may_not_miss(known[name])
    ]
    ensure(not left_out, f"it leaves out {', '.join(left_out)}")
    for base in set(classes.values()):
        keys = [name for name in written if classes[name] is base and injected_role(known[name]) is None]
        order = [name for name in parameters(target) if name in keys]
        ensure(keys == order, f"the order of the constructor is {', '.join(order)}, of the yaml {', '.join(keys)}")


def may_not_miss(hint: Any) -> bool:
    """Whether an argument is a plain value that decides results."""
    return injected_role(hint) is None and not is_local(hint) and not is_later(hint)
