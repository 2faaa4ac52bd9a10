"""Seconds for 1,000 perturbed images over the number of segments (POMELO, Fig. 10)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.figure.segment_panels import draw_panels
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws the median wall time of a perturbation, with half of the range of its runs. The title names the devices."""
    devices = sorted({str(c.status.get("device", "?")) for c in cells})

    def value(cell: GridCell) -> tuple[float, float] | None:
        timing = cell.summary.get("perturbing_time")
        if not timing or timing["mean"] is None:
            return None
        runs = timing.get("repeats") or [timing["mean"]]
        return timing["mean"], (max(runs) - min(runs)) / 2

    with style.canvas(path, 7.6, 3.9) as figure:
        draw_panels(figure, cells, value, "seconds per 1,000 perturbed images\n(cheap ↓)")
        figure.suptitle(f"device: {', '.join(devices)}", fontsize=8.5, color="#777777", x=0.99, ha="right")
    return path
