"""Similarity of maps to those of networks with more and more randomised layers (Fisher divergence for attribution,
Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path, metric: str = "sanity_check") -> Path:
    """Draws mean curves over images, starting with the intact network (1): SSIM on the left, rank correlation on the
    right.

    A dotted line in a method's colour is its null: the similarity of the maps of two different images for the intact
    network.
    """
    groups = style.group_by_method(cells)
    with style.canvas(path, 8.4, 4.6) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        names: list[str] = []
        lowest = 0.0
        for method, group in groups:
            rows = style.read_metric(group[0], metric)
            if not rows:
                continue
            job = group[0].job
            names = job.parts.metrics[metric].select_layers(job.parts.classifier)
            for axis, kind in ((left, "ssim"), (right, "spearman")):
                null = float(rows[f"null_{kind}"].double().nanmean())
                axis.axhline(null, color=method.colour, ls=":", lw=0.9, alpha=0.7, zorder=1)
                curve = [1.0, *rows[kind].double().nanmean(0).tolist()]
                lowest = min(lowest, null, *curve)
                marker = {"marker": method.marker, "ms": 4.5, "zorder": 2 if method.group == "baseline" else 3}
                axis.plot(range(len(curve)), curve, color=method.colour, ls=method.line, **marker)
        for axis, title in ((left, "structural similarity"), (right, "rank correlation")):
            axis.set(title=title, xlabel="randomised down to", ylim=(min(0.0, lowest) - 0.03, 1.03))
            axis.set_xticks(range(len(names) + 1), ["intact", *names], rotation=30, ha="right")
        left.set_ylabel("similarity to the intact map (sensitive \u2193)")
        style.add_legend(figure, [style.legend_entry(method) for method, _ in groups])
    return path
