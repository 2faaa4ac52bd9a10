"""Overlap with the annotated mask: intersection over union, and precision against recall (POMELO, Fig. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws mean curves over images, without undefined points."""
    import torch

    groups = style.group_by_method(cells)
    with style.canvas(path, 8.4, 4.0) as figure:
        left, right = figure.subplots(1, 2)
        for method, group in groups:
            line = {"color": method.colour, "ls": method.line, "zorder": 2 if method.group == "baseline" else 3}
            curves = {
                m: rows["curve"].nanmean(0) for m in ("iou", "emr", "emp") if (rows := style.read_metric(group[0], m))
            }
            if "iou" in curves:
                left.plot(torch.linspace(0, 1, len(curves["iou"])), curves["iou"], **line)
            if {"emr", "emp"} <= set(curves):
                right.plot(curves["emr"], curves["emp"], **line)
        left.set(title="(a) overlap", xlabel="threshold τ on the scaled explanation", ylabel="intersection over union")
        left.set(xlim=(0, 1), ylim=(0, 1.02))
        right.set(
            title="(b) precision and recall", xlabel="explanation mask recall", ylabel="explanation mask precision"
        )
        right.set(xlim=(0, 1), ylim=(0, 1.02))
        style.add_legend(figure, [style.legend_entry(method) for method, _ in groups])
    return path
