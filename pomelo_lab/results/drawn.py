"""Figures that were drawn before: they are not drawn again while their jobs, their style and their files are the same.

What a job stores lies under its fingerprint, so the jobs' score folders determine the numbers of a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.config.memory import contents, installed_version, recall, remember
from pomelo_lab.engine.finished import list_results
from pomelo_lab.results.grid import GridCell
from pomelo_lab.results.report import Row

FIGURES = "figures"  # the kind of answers of the memory
UNSEEN = ("tracking", "force")  # keys of a config that no figure shows


def ask(
    name: str, options: Mapping[str, Any], rows: Sequence[tuple[GridCell, Row]], symbols: Mapping[str, str], path: Path
) -> dict[str, Any] | None:
    """All that determines a figure. None for a figure or a component from outside of this package, whose code may
    change, and for cells that count chosen images only."""
    if "." in name or any(type(cell) is not GridCell or cell.folders for cell, _ in rows):
        return None
    jobs = []
    for cell, row in rows:
        style = [row.key, row.label, row.plain_label, row.group, row.reach, symbols.get(row.key, "")]
        config = {key: value for key, value in cell.config.items() if key not in UNSEEN}
        jobs.append([cell.choices, cell.point, config, contents(list_results(cell.folder)), style])
    return {
        "figure": name,
        "options": dict(options),
        "jobs": jobs,
        "path": str(path.resolve()),
        "matplotlib": installed_version("matplotlib"),
    }


def is_drawn(question: Mapping[str, Any] | None) -> bool:
    """Whether the files of a figure are those that were drawn."""
    known = None if question is None else recall(FIGURES, question)
    return known is not None and len(known["files"]) > 0 and known["files"] == contents(known["files"])


def note(question: Mapping[str, Any] | None, path: Path | None) -> None:
    """Remembers the files of a figure that was just drawn."""
    if question is not None and path is not None:
        remember(FIGURES, question, {"files": contents([path, path.with_suffix(".pdf")])})
