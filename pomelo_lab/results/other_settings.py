"""Finished jobs of a preset that were run with other settings than those that a table is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pomelo_lab.config.tree import leaves
from pomelo_lab.engine.score_files import read_status
from pomelo_lab.files import parse_yaml
from pomelo_lab.results.grid import GridCell

# config groups that a command changes for a whole table, and top-level keys that determine results
GROUPS = ("scale", "dataset", "classifier", "segmenter", "networks")
KEYS = ("seed", "n_images", "images", "target")


def find_other_settings(preset: str, cell: GridCell, outputs: Path) -> list[tuple[tuple[str, ...], int]]:
    """The overrides that lead to the finished jobs of a preset, with the number of these jobs, most jobs first.

    The stored configs are read, and nothing is composed.

    Args: cell: any cell of the grid that is asked for.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for path in sorted(outputs.glob("score/*/config.yaml")):
        text = path.read_text()
        if f"\n  experiment: {preset}\n" in text and read_status(path.parent).get("state") == "done":
            stored = parse_yaml(text)
            found[tuple(changes(stored, cell))] += 1
    found.pop((), None)  # jobs that differ in what the grid varies alone
    return found.most_common()


def changes(stored: Mapping[str, Any], cell: GridCell) -> Iterator[str]:
    """The overrides that turn the config of a cell into that of a stored job, without what the grid varies.

    Another scale determines many values, so it is named alone.
    """
    varied = {key.lstrip("+") for key in cell.point}
    asked, choices = cell.config, stored.get("choices") or {}
    groups = [group for group in GROUPS if group not in varied and choices.get(group) != cell.choices.get(group)]
    yield from (f"{group}={choices.get(group)}" for group in groups)
    if "scale" in groups:
        return
    yield from (f"{key}={stored[key]}" for key in KEYS if key not in varied and stored.get(key) != asked.get(key))
    for group in (group for group in GROUPS[1:4] if group not in groups):
        known = dict(leaves(asked.get(group) or {}, group))
        for key, value in leaves(stored.get(group) or {}, group):
            if key not in varied and key in known and known[key] != value:
                yield f"{key}={value}"
