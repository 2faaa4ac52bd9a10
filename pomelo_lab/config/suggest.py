"""Suggestions for a command line that Hydra refuses: the nearest choice or key, and how to quote a value.

They are printed as the last lines, below Hydra's own message.
"""

from __future__ import annotations

import itertools
import re
import shlex
import unicodedata
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import CompactHydraException

from pomelo_lab.config.describe import did_you_mean
from pomelo_lab.config.entry import CONF, config_folders, search_path
from pomelo_lab.config.roles import ROLES
from pomelo_lab.config.suites import find_clashes, split_names

SINGLE = (*ROLES, "scale", "networks", "tracking", "recipe")  # groups of which a job has one choice
# a message of OmegaConf
WRONG_TYPE = r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+).*full_key: (\S+)"
KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}
LISTED = 40  # the largest number of choices or keys in a message
METRIC = re.compile(r"\+{0,2}metric(?:@metrics\.(?P<key>\w+))?")
TWICE = r"@metrics\.(\w+)\S* appears more than once"  # a message of Hydra


def printable(text: str) -> str:
    """The text with control characters replaced by their codes.

    An escape sequence in a name could otherwise change the colours or the title of the terminal.
    """
    return "".join(f"\\x{ord(c):02x}" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)


def find_error(arguments: Sequence[str]) -> str | None:
    """The first error in a command line that can be seen before Hydra reads it. None when there is no such error."""
    for text in arguments:
        if printable(text) != text:
            return f"the argument {printable(text)!r} holds control characters"
        key, _, value = text.partition("=")
        if key in SINGLE and value.startswith("[") and value.endswith("]"):
            names = value.strip("[]").replace(" ", "")
            return (
                f"{text}: {key} is one choice (a list goes with metrics alone); a grid over several is: -m "
                f"{key}={names}"
            )
        if key == "metrics" and "[" in value:
            lists = [names for names in re.findall(r"\[([^\[\]]*)\]", value) if "," in names]
            folders, _ = config_folders(arguments)
            try:
                clashes = [line for names in lists for line in find_clashes(split_names(names), folders)]
            except CompactHydraException as error:  # a file that cannot be read
                return str(error)
            if clashes:
                return clashes[0]
        if read := METRIC.fullmatch(key):
            folders, _ = config_folders(arguments)
            if line := find_metric_problem(text, read["key"], value, all_choices(folders)["metric"]):
                return line
    return None


def find_metric_problem(text: str, key: str | None, value: str, names: Sequence[str]) -> str | None:
    """The error in an override that adds a metric (+metric@metrics.<key>=<name>). None when it is correct."""
    for name in (name.strip(" '\"") for name in value.split(",")):
        if name not in names:
            return f"{text}: there is no metric {name}{did_you_mean(name, names)}; there are: {', '.join(names)}"
        if key is None:
            return f"{text}: a metric stands under a key of metrics: +metric@metrics.{name}={name}"
    return None


def suggestions(error: BaseException | None, arguments: Sequence[str], config_name: str = "run") -> list[str]:
    """Lines that tell the user what to type instead, according to Hydra's error. Empty when Hydra's message suffices.

    Args: error: the exception behind Hydra's exit.
    """
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException

    folders, arguments = config_folders(arguments)
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    if isinstance(error, OverrideParseException):
        if blank := blank_in_list(arguments):
            return [blank]
        return [line for text in overrides if (line := suggest_quotes(text))]
    if not isinstance(error, (MissingConfigException, ConfigCompositionException)):
        return []
    if "Ambiguous value" in str(error):
        return [line for text in overrides if (line := sweep_meant(text, all_choices(folders)))]
    if wrong := re.search(WRONG_TYPE, f"{error}\n{error.__cause__}", re.DOTALL):
        return [f"{wrong[3]} must be {KINDS.get(wrong[2], wrong[2])}, got {wrong[1]!r}"]
    if twice := re.search(TWICE, str(error)):
        return [
            f"two metrics have the key metrics.{twice[1]}: give one of them another key, or name one suite of the two"
        ]
    if "'row/" in str(error):
        return ["the group row is called method: write /method and method: in your preset, DIR/method for DIR/row"]
    choices = all_choices(folders)
    lines = list(unknown_choices(overrides, choices))
    if not lines and (absent := re.search(r"Could not override '(\w+)'", str(error))) and absent[1] in choices:
        return [
            f"{text}: the config has no {absent[1]} yet that this could replace: +{text} works"
            for text in overrides
            if text.partition("=")[0] == absent[1]
        ]
    return lines or list(unknown_keys(overrides, choices, folders, config_name))


def blank_in_list(arguments: Sequence[str]) -> str:
    """The correct form of a list that was typed with a blank behind a comma. "" when there is no such list."""
    for text, following in itertools.pairwise(arguments):
        if "=" in text and text.endswith(",") and "=" not in following:
            return f"{text} {following}: a list has no blank behind its commas: {text}{following}"
    return ""


def sweep_meant(text: str, groups: Container[str]) -> str:
    """The correct form of an override with several values, which Hydra refuses without -m. "" for one value."""
    key, _, value = text.partition("=")
    if (read := parse_override(text)) is None or not read.is_sweep_override():
        return ""
    if key == "metrics" and "[" not in value:
        return f"{text}: metrics=[{value}] (at once) or -m {text} (one after another)"
    if key.lstrip("+").partition("@")[0] in groups:
        return f"{text} is a grid over several choices: -m {text}"
    return f"{text} is a grid over several values: -m {text}; as one value, {suggest_quotes(text, even_if_read=True)}"


def suggest_quotes(text: str, even_if_read: bool = False) -> str:
    """The correct quotes for an override that Hydra cannot read.

    "" when Hydra can read it, or when quotes do not help.

    Args: even_if_read: suggest quotes although Hydra can read the override.
    """
    key, _, value = text.partition("=")
    quoted = key + '="' + value.replace('"', '\\"') + '"'
    if (even_if_read or parse_override(text) is None) and parse_override(quoted) is not None:
        return f"Hydra reads {value!r} as its own grammar: quote it as a text, {shlex.quote(quoted)}"
    return ""


def parse_override(text: str) -> Any:
    """The override as parsed by Hydra. None when Hydra cannot read it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def all_choices(folders: Sequence[str]) -> dict[str, list[str]]:
    """The choices of every config group, including those in the user's config folders."""
    groups = {
        path.relative_to(root).as_posix()
        for root in (CONF, *folders)
        for path in Path(root).rglob("*")
        if path.is_dir()
    }
    return {
        group: sorted({path.stem for root in (CONF, *folders) for path in Path(root, group).glob("*.yaml")})
        for group in groups
    }


def unknown_choices(overrides: Sequence[str], choices: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """One line for each choice that has no file. It names the group that has this choice, or the nearest name."""
    from hydra.core.override_parser.types import Glob

    for text in overrides:
        read = parse_override(text)
        if read is None or (group := read.key_or_group) not in choices:
            continue
        value = (
            list(read.sweep_string_iterator())
            if read.is_sweep_override() and not isinstance(read.value(), Glob)
            else read.value()
        )
        for name in value if isinstance(value, list) else [value]:
            name = str(name).strip("'\"")
            if isinstance(read.value(), Glob) or name in ("None", "null", *choices[group]):
                continue
            elsewhere = [
                other
                for other, names in choices.items()
                if name in names and "/" not in other and other not in ("method", "recipe", "hydra")
            ]
            # "wandb" is a prefix of wandb_offline and wandb_online
            longer = [choice for choice in choices[group] if choice.startswith(f"{name}_")]
            near = (
                f": {name} is a choice of {elsewhere[0]} ({prefix(elsewhere[0], name)}={name})"
                if elsewhere
                else did_you_mean(name, choices[group])
            )
            near = near or (f", did you mean {' or '.join(map(repr, longer[:4]))}?" if longer else "")
            yield f"{group}={name} does not exist{near}; there are: {join_names(choices[group])}"


def prefix(group: str, name: str) -> str:
    """The part of an override before `=`, for a choice of this group."""
    return f"+metric@metrics.{name}" if group == "metric" else group


def unknown_keys(
    overrides: Sequence[str], choices: Mapping[str, Sequence[str]], folders: Sequence[str], config_name: str
) -> Iterator[str]:
    """One line for each key that the config does not have. It names the nearest key."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    chosen = [
        text.partition(",")[0]
        for text in overrides
        if (text.partition("=")[0] in choices or METRIC.fullmatch(text.partition("=")[0])) and "[" not in text
    ]
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(CONF, version_base="1.3"):
            config = compose(config_name, overrides=[*search_path(folders), *chosen])
    except Exception:  # suggestions are optional: Hydra's own message is printed in any case
        return
    for text in overrides:
        key = text.partition("=")[0].lstrip("+~")
        if text.startswith("+") or key in choices or "@" in key or "/" in key or key.startswith("hydra."):
            continue
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        while parent and node is None:
            parent, _, leaf = parent.rpartition(".")
            node = OmegaConf.select(config, parent) if parent else config
        known = [str(name) for name in node] if OmegaConf.is_dict(node) else []
        owner = f"{parent}.{leaf}" if parent else leaf
        if leaf in known and key != owner:
            yield f"{key} does not exist: {owner} is one value, without keys below it"
        elif leaf not in known:
            names = join_names(known)
            yield f"{key} does not exist{did_you_mean(leaf, known)}; {parent or 'the top level'} has: {names}"


def join_names(names: Sequence[str]) -> str:
    """The first names, separated by commas, and the number of all names when some are left out."""
    return ", ".join(names[:LISTED]) + (f", ... ({len(names)} in all)" if len(names) > LISTED else "")
