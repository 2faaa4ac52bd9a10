"""The points of a grid and their configs, composed by Hydra once and remembered for later commands."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pomelo_lab.config.entry import CONF, searched_folders
from pomelo_lab.config.memory import recall, remember
from pomelo_lab.config.preset_data import Asked, keys
from pomelo_lab.config.surroundings import is_constant, surroundings

if TYPE_CHECKING:
    from omegaconf import DictConfig

GRIDS = "grids"  # the kind of answers of the memory


@dataclass(frozen=True)
class Point:
    """A point of a grid.

    point: swept key -> value, as Hydra passes it on.
    choices: group -> chosen name.
    config: the resolved config, before its check. When a value cannot be resolved, the config as it was composed.
    error: why a value cannot be resolved; "" if all can.
    """

    point: dict[str, str]
    choices: dict[str, str]
    config: dict[str, Any]
    error: str = ""


@dataclass(frozen=True)
class Points:
    """All points of a grid, and what was typed for them."""

    points: list[Point]
    asked: Asked


def compose_points(experiment: str, overrides: Sequence[str]) -> Points:
    """Every point of a preset's grid, in Hydra's order. Hydra composes nothing when the memory knows the grid.

    Args: experiment: "" for a grid without a preset.
    Raises: HydraException for a preset or an override that Hydra refuses.
    """
    question = {"experiment": experiment, "overrides": list(overrides), **surroundings(overrides)}
    if known := recall(GRIDS, question):
        asked = Asked(bool(experiment), frozenset(known["typed"]), known["swept"])
        return Points([Point(**point) for point in known["points"]], asked)
    made, repeatable = compose_now(experiment, overrides)
    if repeatable and not any(point.error for point in made.points):
        points = [asdict(point) for point in made.points]
        remember(
            GRIDS, question, {"typed": sorted(made.asked.typed), "swept": dict(made.asked.swept), "points": points}
        )
    return made


def compose_now(experiment: str, overrides: Sequence[str]) -> tuple[Points, bool]:
    """The points as Hydra composes them, and whether a later composition with the same files gives the same."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from pomelo_lab.config.schema import register

    register()
    preset = [f"experiment={experiment}"] if experiment else []
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            fixed = [*preset, *no_sweeps(overrides)]
            base = compose("run", overrides=fixed, return_hydra_config=True)
            swept, asked = read_sweeps(experiment, base, overrides)
            repeatable = searches_only(base, searched_folders(overrides)) and is_constant(" ".join(overrides))
            lines = [[(key, value) for value in sweep_values(f"{key}={text}")] for key, text in swept.items()]
            points = []
            for values in itertools.product(*lines):
                assigned = [f"{key}={value}" for key, value in values]
                config = compose("run", overrides=[*fixed, *assigned], return_hydra_config=True)
                point, constant = read_point(dict(values), config)
                points.append(point)
                repeatable &= constant
    finally:
        GlobalHydra.instance().clear()
        if before is not None:
            GlobalHydra.instance().initialize(before)
    return Points(points, asked), repeatable


def read_sweeps(experiment: str, base: DictConfig, overrides: Sequence[str]) -> tuple[dict[str, str], Asked]:
    """The swept keys of a preset and of a command line with their values, and what was typed."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    varied = {str(key): str(value) for key, value in (base.hydra.sweeper.params or {}).items()}
    swept = dict(varied)
    loader = GlobalHydra.instance().config_loader()  # knows what a glob stands for
    typed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    for parsed in typed:
        key = parsed.get_key_element()
        if parsed.is_sweep_override():
            swept[key] = ",".join(parsed.sweep_string_iterator())
        else:
            swept.pop(key, None)
    first = {key: value for key, value in axes(varied).items() if key not in keys(typed)}
    return swept, Asked(bool(experiment), keys(typed), first)


def read_point(point: dict[str, str], config: DictConfig) -> tuple[Point, bool]:
    """A composed point, and whether its values are the same at any later time."""
    from omegaconf import OmegaConf

    from pomelo_lab.config.check import ConfigError, resolved

    choices = {g: n for g, n in config.hydra.runtime.choices.items() if "/" not in g and "@" not in g and n}
    plain = {key: config[key] for key in config if key != "hydra"}
    own = type(config)(plain)
    try:
        made = Point(point, choices, resolved(own))
    except ConfigError as error:
        return Point(point, choices, plain, str(error)), False
    return made, is_constant(json.dumps(OmegaConf.to_container(own, resolve=False), default=str))


def searches_only(base: DictConfig, folders: Sequence[str]) -> bool:
    """Whether Hydra searches for configs in no other folders than ours and the given ones."""
    return set(base.hydra.searchpath or ()) <= {f"file://{folder}" for folder in folders}


def sweep_values(override: str) -> list[str]:
    """Splits the values of a sweep: "sampler=black,gray" -> ["black", "gray"]."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    return list(parsed.sweep_string_iterator()) if parsed.is_sweep_override() else [parsed.get_value_element_as_str()]


def axes(params: Any) -> dict[str, str]:
    """Maps each key that a preset varies to its first value."""
    return {str(key).lstrip("+"): unescaped(sweep_values(f"{key}={text}")[0]) for key, text in (params or {}).items()}


def no_sweeps(overrides: Sequence[str]) -> list[str]:
    """Removes the overrides that are sweeps."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [text for text, override in zip(overrides, parsed, strict=True) if not override.is_sweep_override()]


def unescaped(value: str) -> str:
    """The text of a swept value. Hydra passes on `Lung Opacity` as it would be typed, in quotes or with a backslash
    before the blank."""
    inside = re.fullmatch(r"(['\"])(.*)\1", value)
    return inside[2] if inside else re.sub(r"\\(.)", r"\1", value)
