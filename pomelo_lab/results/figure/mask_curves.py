"""Recall and precision of the annotated mask over thresholds (POMELO, Fig. 13)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws mean curves over images. Precision is drawn where at least half of the images still select pixels."""
    import torch

    groups = style.group_by_method(cells)
    with style.canvas(path, 8.4, 4.0) as figure:
        for axis, metric, name in zip(
            figure.subplots(1, 2, sharex=True), ("emr", "emp"), ("recall", "precision"), strict=True
        ):
            for method, group in groups:
                if not (rows := style.read_metric(group[0], metric)):
                    continue
                curve = rows["curve"].nanmean(0)
                curve[rows["curve"].isfinite().double().mean(0) < 0.5] = torch.nan
                line = {"color": method.colour, "ls": method.line, "zorder": 2 if method.group == "baseline" else 3}
                axis.plot(torch.linspace(0, 1, len(curve)), curve, **line)
            axis.set(title=f"explanation mask {name}", xlabel="threshold τ on the scaled explanation", ylabel=name)
            axis.set(xlim=(0, 1), ylim=(0, 1.02))
        style.add_legend(figure, [style.legend_entry(method) for method, _ in groups])
    return path
