"""Diversity against locality (POMELO, Fig. 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

AXES = (("l2", "entropy_hard"), ("ssim", "entropy_soft"))
NAMES = {"l2": "L2 distance", "ssim": "SSIM"}
NAMES |= {"entropy_hard": "entropy of winning classes, bits", "entropy_soft": "entropy of probabilities, bits"}


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws the mean of each sampler with its 95 % interval over images. Better is up and to the right in both
    panels; the axis of L2 is reversed."""
    groups = style.group_by_method(cells)
    with style.canvas(path, 8.4, 4.1) as figure:
        for axis, (local, diverse) in zip(figure.subplots(1, 2), AXES, strict=True):
            for method, group in groups:
                summaries = [
                    [c.summary[m] for m in (local, diverse)]
                    for c in group
                    if local in c.summary and diverse in c.summary
                ]
                if not summaries:
                    continue
                x, y = (sum(f[i]["mean"] for f in summaries) / len(summaries) for i in (0, 1))
                error = [1.96 * (summaries[0][i]["std"] or 0) / math.sqrt(max(1, summaries[0][i]["n"])) for i in (0, 1)]
                size = 11 if method.marker == "*" else 7
                edge = {"mec": "white", "mew": 0.7, "elinewidth": 1}
                axis.errorbar(x, y, error[1], error[0], fmt=method.marker, ms=size, color=method.colour, **edge)
            axis.set(xlabel=f"{NAMES[local]}  (locality →)", ylabel=f"{NAMES[diverse]}  (diversity →)")
            axis.margins(0.12)
            if local == "l2":
                axis.invert_xaxis()
            arrow = {"arrowstyle": "-|>", "color": "#BBBBBB", "lw": 2.2, "mutation_scale": 16}
            axis.annotate("", (0.98, 0.98), (0.86, 0.86), xycoords="axes fraction", arrowprops=arrow)
            axis.annotate(
                "better", (0.855, 0.855), xycoords="axes fraction", color="#AAAAAA", ha="right", va="top", fontsize=8.5
            )
        marks = [
            style.legend_entry(k, ls="", marker=k.marker, ms=9 if k.marker == "*" else 6, mec="white", mew=0.5)
            for k, _ in groups
        ]
        style.add_legend(figure, marks)
    return path
