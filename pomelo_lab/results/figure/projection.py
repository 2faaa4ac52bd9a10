"""UMAP of perturbed and training images in the classifier's features, with one panel per sampler (POMELO, Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path, columns: int = 5) -> Path:
    """Draws the points whose silhouette the table reports. Each panel is a separate embedding.

    Args: columns: largest number of panels per row.
    Cost: one embedding of stored features for each sampler, on the CPU. No network runs.
    """
    panels = []
    for method, group in style.group_by_method(cells):
        rows = style.read_metric(group[0], "silhouette")
        if rows:
            job = group[0].job
            points = job.parts.metrics["silhouette"].embedding(rows, job.reference("silhouette"))
            panels.append((method, *points, group[0].summary.get("silhouette", {}).get("mean")))
    lines = -(-len(panels) // columns)
    columns = -(-len(panels) // lines)  # as even as possible
    with style.canvas(path, 2.2 * columns, 2.15 * lines + 0.45) as figure:
        axes = figure.subplots(lines, columns, squeeze=False).flatten()
        for axis, (method, perturbed, training, value) in zip(axes, panels, strict=False):
            size = 9 if len(training) > 200 else 16
            axis.scatter(*training[:, :2].T, s=size, facecolors="none", edgecolors="#9AA3AD", lw=0.7, rasterized=True)
            axis.scatter(*perturbed[:, :2].T, s=size, c=method.colour, alpha=0.7, lw=0, rasterized=True)
            score = "" if value is None else f"   {value:.3f}".replace("-", "−")
            axis.set_title(f"{method.label}{score}", color=method.colour, loc="left", fontsize=9)
            axis.set(xticks=[], yticks=[], box_aspect=1)
            axis.grid(False)
            for side in axis.spines.values():
                side.set(visible=True, color="#DDDDDD")
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        dot = {"marker": "o", "ls": "", "ms": 5, "alpha": 0.9}
        training = style.legend_entry(style.Style("training images", "#9AA3AD"), **dot, mfc="none")
        perturbed = style.legend_entry(
            style.Style("perturbed images (number: silhouette, 0 = indistinguishable)", "#555555"), **dot
        )
        style.add_legend(figure, [training, perturbed])
    return path
