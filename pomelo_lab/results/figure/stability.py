"""Stability of explanations over the number of segments (POMELO, Fig. 9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.figure.segment_panels import draw_panels
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws the mean distance of repeated explanations to their mean, with its 95 % interval over images. Random
    maps are in both panels."""

    def value(cell: GridCell) -> tuple[float, float] | None:
        summary = cell.summary.get("stability")
        return (
            (summary["mean"], 1.96 * (summary["std"] or 0) / math.sqrt(summary["n"]))
            if summary and summary["mean"] is not None
            else None
        )

    with style.canvas(path, 7.6, 3.9) as figure:
        draw_panels(figure, cells, value, "distance to the mean explanation\n(stable ↓)")
    return path
