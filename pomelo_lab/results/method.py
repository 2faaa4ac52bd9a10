"""Methods are the files of conf/method. This module finds the row of a table that a cell of a grid belongs to."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pomelo_lab.config.tree import value_at
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.report import Row

PARTS = ("sampler", "explainer")  # the config groups of a method's components


@dataclass(frozen=True)
class Method:
    """One file of conf/method.

    Args: settings: dotted config key of its sampler or explainer -> value.
    """

    name: str
    sampler: str = "none"
    explainer: str = "none"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def chosen_by(self, cell: GridCell) -> bool:
        """Whether a cell uses the method's components. A method without a sampler matches cells with any sampler."""
        sampler, explainer = components(cell)
        return self.explainer == explainer and self.sampler in ("none", sampler)

    def describes(self, cell: GridCell) -> bool:
        """Whether a cell uses the method's components with its settings."""
        return self.chosen_by(cell) and all(
            str(value_at(cell.config, key)) == str(value) for key, value in self.settings.items()
        )


@functools.cache
def load_methods() -> dict[str, Method]:
    """Reads every file of conf/method, by name."""
    from pomelo_lab.config.entry import CONF

    return {path.stem: read_method(path) for path in sorted(Path(CONF, "method").glob("*.yaml"))}


def read_method(path: Path) -> Method:
    """Reads one file and the files that its defaults list extends. Settings that refer to other config keys are
    omitted."""
    import yaml

    content = yaml.safe_load(path.read_text())
    parts, settings = {}, {}
    for entry in content["defaults"]:
        if isinstance(entry, dict):
            parts |= {key.removeprefix("override /"): choice for key, choice in entry.items()}
        elif entry != "_self_":
            base = read_method(path.with_stem(entry))
            parts, settings = {"sampler": base.sampler, "explainer": base.explainer}, dict(base.settings)
    for part in PARTS:
        settings |= dict(leaves(content.get(part, {}), part))
    return Method(path.stem, **{part: parts.get(part, "none") for part in PARTS}, settings=settings)


def leaves(node: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    """Flattens a nested mapping into dotted keys and plain values."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}.{key}")
        elif "${" not in str(value):
            yield f"{above}.{key}", value


def components(cell: GridCell) -> tuple[str, str]:
    """The names of a cell's sampler and explainer."""
    return cell.choices.get("sampler") or "none", cell.choices.get("explainer") or "none"


def method_names(cell: GridCell) -> tuple[str, ...]:
    """The names under which reports list a cell's method.

    This is the method that the grid chose, if the cell still has its components. Otherwise it is the files of
    conf/method that describe the cell most closely, and a name built from its components: the sampler when nothing is
    explained, the explainer when nothing is sampled, "explainer/sampler" when both are used.
    """
    chosen, known = cell.choices.get("method"), load_methods()
    if chosen and (chosen not in known or known[chosen].chosen_by(cell)):
        return (chosen,)
    alike = [method for method in known.values() if method.describes(cell)]
    closest = max((len(method.settings) for method in alike), default=0)
    sampler, explainer = components(cell)
    made = explainer if sampler == "none" else sampler if explainer == "none" else f"{explainer}/{sampler}"
    return (*(method.name for method in alike if len(method.settings) == closest), made)


def matches(cell: GridCell, row: Row) -> bool:
    """Whether a cell belongs to a row: it has the row's method and lies at the row's point of the grid."""
    if row.method is None and not row.point:
        return False
    return (row.method is None or row.method in method_names(cell)) and all(
        str(choice_or_value(cell, key)) == str(value) for key, value in row.point.items()
    )


def is_built(row: Row) -> bool:
    """Whether the method of a row exists in this package. Rows of other methods have printed numbers only."""
    from pomelo_lab.config.entry import CONF

    if row.method is None:
        return bool(row.point)
    return any(Path(CONF, group, f"{row.method}.yaml").exists() for group in ("method", *PARTS))


def is_left_out(cell: GridCell, key: str) -> bool:
    """Whether a key names, or lies below, an argument that the preset sets and the cell's data set does not have."""
    return any(
        key == name or key.startswith(f"{name}.")
        for name in cell.config.get("left_out", {})
        if name.startswith("dataset.")
    )


def choice_or_value(cell: GridCell, key: str) -> Any:
    """The name that a grid chose for a group, or the value of a dotted config key. None when the data set has no
    such key."""
    if is_left_out(cell, key):
        return None
    if key in (given := {name.lstrip("+"): value for name, value in cell.point.items()}):
        return given[key]
    return cell.choices[key] if key in cell.choices else value_at(cell.config, key)


def changed_arguments(cell: GridCell, overrides: Sequence[str], row: Row) -> dict[str, str]:
    """The arguments of a cell's sampler and explainer that the command changed: last part of the key -> value.

    Keys that select the row, and keys set to the value in its method's file, are not changes.

    Args: overrides: the overrides as typed, without those that the preset varies.
    """
    from pomelo_lab.results.grid import no_sweeps

    fixed = dict(text.lstrip("+").split("=", 1) for text in no_sweeps(overrides) if "=" in text)
    swept = {text.lstrip("+").partition("=")[0] for text in overrides}
    given = fixed | {key.lstrip("+"): value for key, value in cell.point.items() if key.lstrip("+") in swept}
    method = load_methods().get(row.method or "")
    same = {key: str(value) for key, value in method.settings.items()} if method else {}
    other = {} if method is None or method.chosen_by(cell) else {"explainer": components(cell)[1]}
    return other | {
        key.rpartition(".")[2]: value
        for key, value in given.items()
        if re.match(rf"([\w/]+@)?({'|'.join(PARTS)})\.", key) and key not in row.point and same.get(key) != value
    }
