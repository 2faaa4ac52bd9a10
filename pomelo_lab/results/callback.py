"""After a grid: the table that it belongs to."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback


class PrintTable(Callback):
    """Prints the published table (and draws the figure) when a multirun of a preset with `paper_table` ends.

    The results are on disk before it starts: whatever goes wrong here is said in one line and changes nothing.
    """

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        try:
            from omegaconf import OmegaConf

            presets, rest = split(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))  # column=${dataset.label} is each job's own
            if config.dry_run:
                return
            for preset in presets:
                if is_table(preset):
                    from pomelo_lab.results.show import show

                    show(preset, rest)
        except Exception as error:
            name = type(error).__name__
            print(f"(no table: {name}: {error}; python scripts/table.py <id> prints it)", file=sys.stderr)
            if kwargs.get("debug"):
                traceback.print_exc()


def split(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The presets that a command line asked for, and its other overrides."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob

    from pomelo_lab.config.entry import CONF

    presets, rest = [], []
    for text, one in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        if one.key_or_group != "experiment":
            rest.append(text)
        elif isinstance(one.value(), Glob):
            presets += one.value().filter(sorted(p.stem for p in Path(CONF, "experiment").glob("*.yaml")))
        else:
            presets += list(one.sweep_string_iterator()) if one.is_sweep_override() else [one.get_value_element_as_str()]
    return presets, rest


def is_table(preset: str) -> bool:
    """Whether a preset names a published table."""
    from pomelo_lab.results.published import everything

    return preset in everything()
