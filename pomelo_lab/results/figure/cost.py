"""Seconds for 1,000 perturbed images over the number of segments (paper 000, Fig. 10)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.evidence import seconds_per_1000
from pomelo_lab.results.figure import style
from pomelo_lab.results.figure.across import panels
from pomelo_lab.results.preset import Cell


def draw(cells: Sequence[Cell], path: Path) -> Path:
    """Wall time as recorded when the perturbations were made; the devices are named in the title."""
    devices = sorted({str(c.status.get("device", "?")) for c in cells})

    def value(cell: Cell) -> tuple[float, float] | None:
        found = seconds_per_1000(cell)
        return None if found is None else (found, 0.0)

    with style.canvas(path, 7.6, 3.9) as figure:
        panels(figure, cells, value, "seconds per 1,000 perturbed images\n(cheap ↓)")
        figure.suptitle(f"device: {', '.join(devices)}", fontsize=8.5, color="#777777", x=0.99, ha="right")
    return path
