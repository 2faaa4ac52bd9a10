"""Alignment, diversity and locality of one sampler over two of its settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

OTHERS = (("entropy_hard", "E_hard, bits  (diverse ↑)"), ("l2", "L2  (local ↓)"))
PANELS = {"depth": (("fd_perturbed", "FD_perturbed  (aligned ↓)"), *OTHERS)}  # else:
USUAL = (("mahalanobis", "D_M  (aligned ↓)"), *OTHERS)
XLABELS = {
    "n_steps": "denoising steps",
    "depth": "share of the schedule that is sampled again",
    "mu": "mean share of the random latent",
    "rate": "share of segments removed",
}
PUBLISHED_STD = {"entropy_hard": 0.34, "l2": 4.13}  # over images, at 50 steps and eta 0.4: Table 1
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00")


def draw(cells: Sequence[GridCell], path: Path, by: str = "n_steps", lines: str = "eta") -> Path:
    """Draws means with 95 % intervals. The band is one published standard deviation around the mean at the paper's
    setting.

    Args:
        by: the setting along the axis, a key of XLABELS.
        lines: the setting with one line for each value.
    """
    values = sorted({setting(c, lines) for c in cells})
    with style.canvas(path, 9.6, 3.6) as figure:
        for axis, (metric, label) in zip(figure.subplots(1, 3), PANELS.get(by, USUAL), strict=True):
            for colour, value in zip(COLOURS, values, strict=False):
                points = sorted(
                    (setting(c, by), *interval(c, metric))
                    for c in cells
                    if setting(c, lines) == value and metric in c.summary
                )
                if points:
                    x, mean, half = zip(*points, strict=True)
                    axis.errorbar(
                        x,
                        mean,
                        half,
                        color=colour,
                        marker="o",
                        ms=5,
                        elinewidth=1,
                        capsize=2,
                        label=f"{lines} {value:g}",
                    )
            steps = cells if by == "n_steps" else ()
            paper_setting = [
                interval(c, metric)[0]
                for c in steps
                if (setting(c, "n_steps"), setting(c, "eta")) == (50, 0.4) and metric in c.summary
            ]
            if paper_setting and metric in PUBLISHED_STD:
                axis.axhspan(
                    paper_setting[0] - PUBLISHED_STD[metric],
                    paper_setting[0] + PUBLISHED_STD[metric],
                    color="#DDDDDD",
                    zorder=0,
                )
            axis.set(
                xlabel=XLABELS[by],
                ylabel=label,
                xscale="log" if by == "n_steps" else "linear",
                xticks=sorted({setting(c, by) for c in cells}),
            )
            axis.set_xticks(axis.get_xticks(), [f"{t:g}" for t in axis.get_xticks()])
            axis.minorticks_off()
        style.add_legend(figure, figure.axes[0].get_legend_handles_labels()[0])
    return path


def setting(cell: GridCell, name: str) -> Any:
    return cell.config["sampler"][name]


def interval(cell: GridCell, metric: str) -> tuple[float, float]:
    """The mean and half the width of its 95 % interval over images. The width is 0 for a set statistic without a
    standard deviation."""
    summary = cell.summary[metric]
    return summary["mean"], 1.96 * (summary["std"] or 0) / math.sqrt(max(1, summary["n"]))
