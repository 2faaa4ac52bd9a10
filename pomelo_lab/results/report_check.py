"""Checks of the yaml of a report. Each error states in one line which key is wrong and what was expected."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.describe import did_you_mean
from pomelo_lab.config.signature import hints, type_problems
from pomelo_lab.files import parse_yaml

if TYPE_CHECKING:
    from pomelo_lab.results.report import Control, Row

# the keys of one entry of `tables`
REQUIRED = ("id", "title", "source")
OPTIONAL = "like columns rows claims across control spread partial notes figure figure_options"
TABLE = (*REQUIRED, *OPTIONAL.split())
# keys whose values in yaml have other types than the fields of the dataclasses
PARSED = ("columns", "rows", "claims", "control", "values", "section", "test")


@functools.cache
def read_content(path: Path) -> Mapping[str, Any]:
    """Reads a report file. Raises: ValueError, which names the file, for one without `paper` or without tables."""
    import yaml

    try:
        content = parse_yaml(path.read_text())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{path}: {position}no valid yaml: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no valid yaml: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected the keys paper and tables, got {content!r}")
    for key, known in (("paper", str), ("tables", list)):
        if not isinstance(content.get(key), known) or not content[key]:
            expected = "a text" if known is str else f"a list of tables, each with {', '.join(REQUIRED)}"
            near = did_you_mean(key, [name for name in content if name != key])
            raise ValueError(f"{path}: {key}: expected {expected}, got {content.get(key, 'no such key')!r}{near}")
    return content


def check_fields(node: Any, kind: type) -> Mapping[str, Any]:
    """A yaml node whose keys are fields of a dataclass. Raises: ValueError for an unknown or a missing key, and for a
    value that does not match the hint of its field."""
    required = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    name = kind.__name__.lower()
    if isinstance(node, Mapping) and (value := node.get(required[0])) is not None:
        name += f" {value}"
    check_keys(node, name, [f.name for f in fields(kind)], required)
    check_hints(node, kind, f"{name}: ")
    return node


def check_hints(node: Mapping[str, Any], kind: type, name: str = "") -> None:
    """Raises ValueError for the first value that does not match the hint of its field. Values that are parsed are left
    out."""
    known = hints(kind)
    for key, value in node.items():
        if key in known and key not in PARSED:
            for problem in type_problems(value, known[key], f"{name}{key}"):
                raise ValueError(problem)


def check_keys(node: Any, name: str, known: Sequence[str], required: Sequence[str]) -> None:
    """Raises ValueError for a node that is no mapping, and for one with an unknown key or without a required key."""
    if not isinstance(node, Mapping):
        raise ValueError(f"{name}: expected a mapping with {', '.join(required)}, got {node!r}")
    for key in node:
        if key not in known:
            raise ValueError(f"{name}: {key} is unknown{did_you_mean(str(key), known)}; known are {', '.join(known)}")
    for key in required:
        if node.get(key) is None:
            raise ValueError(f"{name}: {key} is missing; required are {', '.join(required)}")


def items(node: Mapping[str, Any], key: str, default: Any = ()) -> Any:
    """The list under a key. Raises: ValueError for anything else."""
    value = node.get(key, default)
    if value is not default and not isinstance(value, list):
        raise ValueError(f"{key}: expected a list, got {value!r}")
    return value


def find_named(key: str, known: Mapping[str, Any], name: str) -> Any:
    """A column or row of the table named by `like`. Raises: ValueError for a name that this table does not have."""
    if key not in known:
        those = f"the table named by like has {', '.join(known)}" if known else f"expected a {name} as a mapping"
        raise ValueError(f"{name} {key!r} is unknown{did_you_mean(key, known)}; {those}")
    return known[key]


def parse_values(node: Any, row: str) -> dict[str, tuple[float, float | None]]:
    """Parses the printed numbers of a row: a mean, or `[mean, std]`."""
    if not isinstance(node, Mapping):
        raise ValueError(f"row {row}: values: expected a mapping metric: number or [mean, std], got {node!r}")
    values = {}
    for metric, printed in node.items():
        try:
            mean, std = printed if isinstance(printed, list) else (printed, None)
            if isinstance(mean, bool) or isinstance(std, bool):
                raise TypeError
            values[metric] = float(mean), None if std is None else float(std)
        except (TypeError, ValueError):
            text = f"row {row}: values: {metric}: expected a number or [mean, std], got {printed!r}"
            raise ValueError(text) from None
    return values


def check_values(rows: Sequence[Any], metrics: Sequence[str], across: Mapping[str, Sequence[Any]]) -> None:
    """Raises ValueError for a printed number of a metric that the table has no column for.

    Args: rows: the rows of an entry, as in yaml; metrics: those of the columns; across: the keys that split the rows.
    """
    known = [f"{metric}@{value}" for values in across.values() for value in values for metric in metrics]
    for row in rows:
        for name in row.get("values", {}) if isinstance(row, Mapping) else {}:
            if name not in (known or metrics):
                near = did_you_mean(str(name), known or metrics)
                kind = f"metric@value of a column and of {' or '.join(across)}" if across else "metric of a column"
                raise ValueError(
                    f"row {row['key']}: values: {name} has no column{near}; expected the {kind}: "
                    f"{', '.join(known or metrics) or 'there are none'}"
                )


def parse_test(node: Any, claim: str) -> tuple[str, ...]:
    """The comparisons of a claim: a text, or a list of texts."""
    tests = [node] if isinstance(node, str) else node
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise ValueError(f"claim {claim}: test: expected a text or a list of texts, got {node!r}")
    return tuple(tests)


def row_keys(rows: Sequence[Row]) -> set[str]:
    """The keys of rows, including their keys before rows were split across a config key."""
    return {key for row in rows for key in (row.key, row.plain_key)}


def check_controls(control: Control | None, rows: Sequence[Row]) -> None:
    """Raises ValueError for a control that is not a row of the table."""
    known = row_keys(rows)
    for needed in (control, *(r.control for r in rows)):
        if needed is not None and needed.row not in known:
            near, keys = did_you_mean(needed.row, known), ", ".join(r.key for r in rows)
            raise ValueError(f"control {needed.row!r} is no row{near}; rows are {keys}")
