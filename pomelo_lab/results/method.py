"""Methods are files of conf/method and of the user's config folders. This module finds the row of a cell of a grid."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pomelo_lab.config.entry import CONF
from pomelo_lab.config.tree import leaves, value_at
from pomelo_lab.files import parse_yaml
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.report import Row

PARTS = ("sampler", "explainer")  # the config groups of a method's components


@dataclass(frozen=True)
class Method:
    """One file of a folder `method`.

    Args: settings: dotted config key of its sampler or explainer -> value.
    """

    name: str
    sampler: str = "none"
    explainer: str = "none"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def matches_components(self, cell: GridCell) -> bool:
        """Whether a cell uses the method's components. A method without a sampler matches cells with any sampler."""
        sampler, explainer = components(cell)
        return self.explainer == explainer and self.sampler in ("none", sampler)

    def describes(self, cell: GridCell) -> bool:
        """Whether a cell uses the method's components with its settings."""
        return self.matches_components(cell) and all(
            str(value_at(cell.config, key)) == str(value) for key, value in self.settings.items()
        )


@functools.cache
def load_methods(folders: tuple[str, ...] = ()) -> dict[str, Method]:
    """Reads every method by name: those of the package, then those of the user's config folders, `DIR/method/*.yaml`.

    The first file of a name counts, as in Hydra.
    """
    files: dict[str, Path] = {}
    for folder in (CONF, *folders):
        for path in sorted(Path(folder, "method").glob("*.yaml")):
            files.setdefault(path.stem, path)
    return {name: read_method(name, files) for name in files}


def read_method(name: str, files: Mapping[str, Path]) -> Method:
    """Reads one file and the methods that its defaults list extends. Settings that refer to other config keys are
    omitted.

    Args: files: the file of each method.
    """
    content = parse_yaml(files[name].read_text()) or {}
    parts, settings = {}, {}
    for entry in content.get("defaults", []):
        if isinstance(entry, dict):
            parts |= {key.removeprefix("override ").removeprefix("/"): choice for key, choice in entry.items()}
        elif entry in files:
            base = read_method(entry, files)
            parts, settings = {"sampler": base.sampler, "explainer": base.explainer}, dict(base.settings)
    for part in PARTS:
        settings |= {key: value for key, value in leaves(content.get(part) or {}, part) if "${" not in str(value)}
    return Method(name, **{part: parts.get(part, "none") for part in PARTS}, settings=settings)


def components(cell: GridCell) -> tuple[str, str]:
    """The names of a cell's sampler and explainer."""
    return cell.choices.get("sampler") or "none", cell.choices.get("explainer") or "none"


def method_names(cell: GridCell) -> tuple[str, ...]:
    """The names under which reports list a cell's method.

    This is the method that the grid chose, if the cell still has its components. Otherwise it is the methods that
    describe the cell most closely, and a name built from its components: the sampler when nothing is explained, the
    explainer when nothing is sampled, "explainer/sampler" when both are used.
    """
    chosen, known = cell.choices.get("method"), load_methods(cell.folders)
    if chosen and (chosen not in known or known[chosen].matches_components(cell)):
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


def is_built(row: Row, folders: Sequence[str] = ()) -> bool:
    """Whether the method of a row exists in this package or in the user's config folders. Rows of other methods have
    printed numbers only."""
    if row.method is None:
        return bool(row.point)
    return any(
        Path(folder, group, f"{row.method}.yaml").exists()
        for folder in (CONF, *folders)
        for group in ("method", *PARTS)
    )


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
    from pomelo_lab.results.points import no_sweeps

    fixed = dict(text.lstrip("+").split("=", 1) for text in no_sweeps(overrides) if "=" in text)
    swept = {text.lstrip("+").partition("=")[0] for text in overrides}
    given = fixed | {key.lstrip("+"): value for key, value in cell.point.items() if key.lstrip("+") in swept}
    method = load_methods(cell.folders).get(row.method or "")
    same = {key: str(value) for key, value in method.settings.items()} if method else {}
    other = {} if method is None or method.matches_components(cell) else {"explainer": components(cell)[1]}
    return other | {
        key.rpartition(".")[2]: value
        for key, value in given.items()
        if re.match(rf"([\w/]+@)?({'|'.join(PARTS)})\.", key) and key not in row.point and same.get(key) != value
    }
