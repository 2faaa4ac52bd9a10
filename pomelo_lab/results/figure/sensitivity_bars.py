"""Similarity of explanations under different hyper-parameters or seeds, as bars (Agarwal & Nguyen, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

METRICS = {
    "sensitivity_ssim": "SSIM",
    "sensitivity_hog": "correlation of HOG",
    "sensitivity_spearman": "rank correlation",
}


def draw(cells: Sequence[GridCell], path: Path, metrics: Sequence[str] = tuple(METRICS)) -> Path:
    """Draws the mean and standard deviation over images: one panel per similarity, one bar per row."""
    bars: dict[str, tuple[style.Style, GridCell]] = {}
    for cell in cells:  # jobs without segments are equal at every number of segments
        method = style.method_style(cell)
        bars.setdefault(method.label, (method, cell))
    with style.canvas(path, 9.0, 3.1) as figure:
        for axis, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
            for position, (method, cell) in enumerate(bars.values()):
                summary = cell.summary.get(metric)
                if summary and summary["mean"] is not None:
                    whisker = {"yerr": summary["std"] or 0, "ecolor": "#555555", "capsize": 2, "error_kw": {"lw": 0.9}}
                    axis.bar(position, summary["mean"], color=method.colour, width=0.8, **whisker)
            axis.axhline(0, color="#555555", lw=0.8)
            axis.set_xticks(range(len(bars)), list(bars), rotation=55, ha="right", fontsize=8)
            axis.set(title=METRICS.get(metric, metric), ylim=(None, 1.0), ylabel="similarity (robust ↑)")
            axis.grid(visible=False, axis="x")
    return path
