"""The contents of suites of metrics, read from their yaml files, so that a list metrics=[a,b] names no metric twice."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException, ConfigCompositionException

from pomelo_lab.config.entry import CONF, config_folders
from pomelo_lab.files import parse_yaml


def split_names(names: str) -> list[str]:
    """The names in the brackets of metrics=[a,b]."""
    return [name.strip(" '\"") for name in names.split(",")]


def remove_repeats(arguments: Sequence[str]) -> list[str]:
    """Rewrites each list metrics=[a,b] of a command line, so that Hydra accepts its suites together."""
    folders, _ = config_folders(arguments)

    def rewritten(match: re.Match) -> str:
        return f"[{','.join(make_distinct(split_names(match[1]), folders))}]"

    return [
        re.sub(r"\[([^\[\]]*,[^\[\]]*)\]", rewritten, text) if text.startswith("metrics=") else text
        for text in arguments
    ]


def make_distinct(suites: Sequence[str], folders: Sequence[str] = ()) -> list[str]:
    """Suites with the same metrics as the given suites, which Hydra accepts together.

    Hydra refuses two choices for the same key. So a suite is left out when another suite contains all of it. When two
    suites share a choice, each suite that only lists other suites is replaced by those that it lists.
    """
    suites = drop_held(suites, folders)
    contents = [read_suite(suite, tuple(folders)) for suite in suites]
    if any("@" in key for first, second in combinations(contents, 2) for key in first.keys() & second.keys()):
        suites = drop_held([part for suite in suites for part in expand(suite, folders)], folders)
    return suites


def drop_held(suites: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Removes repeated suites, and suites whose metrics and choices are all in another suite."""
    contents = {suite: read_suite(suite, tuple(folders)) for suite in suites}
    held = {
        suite
        for suite, other in permutations(contents, 2)
        if contents[suite] and contents[suite].items() < contents[other].items()
    }
    return [suite for suite in contents if suite not in held]


def expand(suite: str, folders: Sequence[str]) -> list[str]:
    """The suites that a suite lists, if it contains nothing else. Otherwise the suite itself."""
    content = dict(read_yaml("metrics", suite, tuple(folders)))
    listed = content.pop("defaults", [])
    return listed if listed and not content and all(re.fullmatch(r"\w+", str(entry)) for entry in listed) else [suite]


def find_clashes(suites: Sequence[str], folders: Sequence[str] = ()) -> Iterator[str]:
    """One error message for each pair of suites that uses the same key for two different metrics.

    Hydra would merge the arguments of the two metrics, and the result would be neither of them.
    """
    for pair in combinations(dict.fromkeys(suites), 2):
        apart: set[str] = set()
        for names in combinations(make_distinct(pair, folders), 2):
            first, second = (read_suite(name, tuple(folders)) for name in names)
            shared = first.keys() & second.keys()
            apart |= {
                key.rpartition("@")[2].partition(".")[0] for key in shared if "@" in key or first[key] != second[key]
            }
        if apart:
            yield (
                f"metrics=[{','.join(pair)}]: each has a metric {', '.join(sorted(apart))} of its own: run one, then "
                f"the other; explanations are kept"
            )


@functools.cache
def read_suite(suite: str, folders: tuple[str, ...] = ()) -> dict[str, Any]:
    """The metrics of a suite (key -> arguments) and the choices inside them (`/classifier@fid.oracle` -> name).

    The metrics and choices of the suites that it extends are included.
    """
    content = dict(read_yaml("metrics", suite, folders))
    contents: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        for group, name in entry.items() if isinstance(entry, dict) else [(entry, None)]:
            group = group.removeprefix("override ")
            if name is None and re.fullmatch(r"\w+", group) and group != "_self_":
                contents |= read_suite(group, folders)
            elif metric := re.fullmatch(r"/metric(?:/(\w+))?@(\w+)", group):
                contents |= read_metric(metric[1] or name, metric[2], folders)
            elif name is not None and group.startswith("/"):
                contents[group] = name
    for key, node in content.items():
        contents[key] = {**contents.get(key, {}), **node} if isinstance(node, dict) else node
    return contents


def read_metric(name: str, key: str, folders: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of conf/metric/<name>.yaml under a key, and the components that its defaults list chooses."""
    node = dict(read_yaml("metric", name, folders))
    choices = {
        f"{group}@{key}.{argument}": choice
        for entry in node.pop("defaults", [])
        if isinstance(entry, dict)
        for (group, _, argument), choice in ((text.partition("@"), choice) for text, choice in entry.items())
    }
    return {key: node, **choices}


@functools.cache
def read_yaml(group: str, name: str, folders: tuple[str, ...]) -> dict[str, Any]:
    """The content of a config file in the user's folders or else in conf. Empty when no such file exists.

    Raises: ConfigCompositionException when the file cannot be read.
    """
    import yaml

    paths = (Path(root, group, f"{name}.yaml") for root in (*folders, CONF))
    if (path := next((path for path in paths if path.is_file()), None)) is None:
        return {}
    try:
        content = parse_yaml(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeError) as error:
        raise broken_yaml(path, error) from None
    if not isinstance(content, dict):
        raise broken_yaml(path, TypeError(f"expected keys with values, got {content!r}"))
    return content


def broken_yaml(file: Path, error: Exception) -> CompactHydraException:
    """The error of a file that is no yaml, in one line with the number of the file's line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    line = f", line {mark.line + 1}" if mark else ""
    return ConfigCompositionException(f"{file}{line}: {problem or ' '.join(str(error).split())}")


def find_targets() -> dict[str, str]:
    """The `_target_` of each metric in the suites of conf/metrics, by the metric's key."""
    suites = (read_suite(path.stem) for path in sorted(Path(CONF, "metrics").glob("*.yaml")))
    return {
        key: node["_target_"]
        for suite in suites
        for key, node in suite.items()
        if isinstance(node, dict) and "_target_" in node
    }


def find_metrics(folders: Sequence[str] = ()) -> set[str]:
    """The keys of the metrics in all suites, and the names of the files of conf/metric, with the user's folders.

    A suite whose file cannot be read has no metrics. It is an error where it is used.
    """
    suites, files = (
        {path.stem for root in (*folders, CONF) for path in Path(root, group).glob("*.yaml")}
        for group in ("metrics", "metric")
    )
    keys: set[str] = set()
    for suite in suites:
        with suppress(CompactHydraException):
            keys |= {key for key in read_suite(suite, tuple(folders)) if "@" not in key}
    return files | keys
