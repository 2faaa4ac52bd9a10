"""The yaml of a component mirrors its constructor: every argument is there, its own first, inherited ones last."""

from pathlib import Path

import pytest
import yaml

from pomelo_lab.config.roles import ROLES
from pomelo_lab.config.signature import hints, injected_role, locate, parameters

CONF = Path(__file__).parents[2] / "conf"


def read(path: Path) -> dict:
    """A yaml's own keys, in its order."""
    return yaml.safe_load(path.read_text()) or {}


def bases(path: Path) -> list[Path]:
    """A yaml and the yamls that it is based on, the last of which counts."""
    files = []
    for entry in read(path).get("defaults", ["_self_"]):
        name, _, package = entry.partition("@") if isinstance(entry, str) else ("", "", "elsewhere")
        if name == "_self_":
            files.append(path)
        elif package in ("", "_here_"):
            files += bases(path.parent / f"{name}.yaml")
    return files if path in files else [path, *files]


def composed(path: Path) -> dict:
    """The keys of a yaml and of those that it is based on."""
    return {key: value for file in bases(path) for key, value in read(file).items()}


def ordered_arguments(target: type) -> list[str]:
    """Arguments of a constructor in signature order, those of a class before those that it inherits."""
    owner = {}
    for depth, base in enumerate(target.__mro__):
        if "__dataclass_fields__" in vars(base):
            owner |= dict.fromkeys(vars(base).get("__annotations__", {}), depth)
    return sorted(parameters(target), key=owner.__getitem__)


FILES = [
    path for role in (*ROLES, "metric") for path in sorted((CONF / role).glob("*.yaml")) if "_target_" in composed(path)
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_argument_is_there_in_the_order_of_the_constructor(path):
    target = locate(composed(path)["_target_"])
    arguments = ordered_arguments(target)
    supplied = {name for name in arguments if injected_role(hints(target).get(name))}
    assert set(arguments) - supplied <= set(composed(path))
    for file in bases(path):
        written = [key for key in read(file) if key in arguments]
        assert written == [name for name in arguments if name in written], file
