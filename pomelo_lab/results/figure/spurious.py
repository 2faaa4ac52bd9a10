"""Share of an explanation on a spurious mark, compared with the classifier's use of the mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.figure.segment_panels import dot
from pomelo_lab.results.grid import GridCell

METRICS = (
    ("mark_effect", "what the classifier uses:\nchange of its answer without the mark"),
    ("mark_mass", "share of the attribution on the mark"),
)


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws the mean and its 95 % interval over images, against the rate at which mark and class occur together."""
    with style.canvas(path, 7.6, 3.9) as figure:
        axes = figure.subplots(1, 2)
        groups = style.group_by_method(cells)
        for axis, (metric, label) in zip(axes, METRICS, strict=True):
            # the effect of the mark does not depend on the explanation
            for method, group in groups if metric == "mark_mass" else groups[:1]:
                points = sorted(
                    (rate(c), *interval(c.summary[metric]))
                    for c in group
                    if c.summary.get(metric, {}).get("mean") is not None
                )
                if points:
                    x, mean, half = zip(*points, strict=True)
                    shown = (
                        {"color": method.colour, "ls": method.line, **dot(method)}
                        if metric == "mark_mass"
                        else {"color": "black", "marker": "o"}
                    )
                    axis.errorbar(x, mean, half, elinewidth=1, capsize=2, **shown)
            rates = sorted({rate(c) for c in cells})
            axis.set_xticks(rates, [f"{r:g}" for r in rates])
            axis.set(xlabel="rate at which the mark goes with the class", ylabel=label)
            axis.set_ylim(bottom=0)
        style.add_legend(figure, [style.legend_entry(method, **dot(method)) for method, _ in groups])
    return path


def rate(cell: GridCell) -> float:
    return float(cell.config["dataset"]["spurious"]["rate"])


def interval(summary: dict) -> tuple[float, float]:
    """The mean and half the width of its 95 % interval over images."""
    return summary["mean"], 1.96 * (summary["std"] or 0) / math.sqrt(summary["n"])
