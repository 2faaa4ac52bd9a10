"""Attributions over their images, with one column per method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path, n_images: int = 5, clip: float = 1.0, boxes: str | None = None) -> Path:
    """Draws the maps over the images: red supports the explained class, blue opposes it. Each map is scaled by its
    largest magnitude.

    Args:
        n_images: rows, the first images of the job.
        clip: scale by this quantile of the magnitudes instead, because noisy maps have isolated peaks.
        boxes: a metric that derives boxes. The annotated box is drawn on every picture, and the box at the chosen
            threshold on each map, green where it counts as localised.
    """
    from pomelo_lab.results.overlay import overlay

    columns, truth = [], None
    for method, group in style.group_by_method(cells):
        job = group[0].job
        explanation = job.explanation(0)
        if explanation.attribution is not None:
            batch = job.batch(0)
            columns.append(
                (
                    method,
                    overlay(batch.image[:n_images], explanation.attribution[:n_images], clip=clip),
                    find_boxes(group[0], boxes, n_images),
                )
            )
            truth = batch.box(job.parts.metrics[boxes].part)[:n_images] if boxes in job.parts.metrics else None
            picture, target, name = (
                batch.image[:n_images],
                explanation.target[:n_images].tolist(),
                job.parts.dataset.class_name,
            )
        job.forget()
    n = len(picture)
    inch, key = 0.95, style.MAP_KEY + ("; dashed: annotated box; green, red: a box that counts or not" if boxes else "")
    with style.canvas(path, 0.7 + inch * (len(columns) + 1), 0.5 + inch * 1.03 * n, key) as figure:
        axes = figure.subplots(n, len(columns) + 1, squeeze=False)
        for i, line in enumerate(axes):
            style.show_image(line[0], picture[i])
            line[0].set_ylabel(name(target[i]), rotation=0, ha="right", va="center", labelpad=6)
            for (_, overlaid, edges), axis in zip(columns, line[1:], strict=True):
                style.show_image(axis, overlaid[i])
                if edges is not None:
                    outline(axis, edges[0][i], "#1B9E4B" if edges[1][i] else "#D62728")
            for axis in line if truth is not None else ():
                for box in truth[i][truth[i].isfinite().all(-1)]:
                    outline(axis, box, "#222222", dashed=True)
        heads = [("Image", "#333333"), *((method.label, method.colour) for method, *_ in columns)]
        for axis, (title, colour) in zip(axes[0], heads, strict=True):
            axis.set_title(textwrap.fill(title, 11, break_long_words=False), color=colour, fontsize=8)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return path


def find_boxes(cell: GridCell, metric: str | None, n_images: int) -> tuple[Tensor, list[bool]] | None:
    """The boxes [n,4] of a job's first maps at the threshold that its held-out images chose, and whether each counts
    as localised."""
    job = cell.job
    if metric not in job.parts.metrics:
        return None
    measured, rows = job.parts.metrics[metric], style.read_metric(cell, metric)
    best = measured.choose_alpha(rows["candidates"])
    boxes = measured.boxes(job.explanation(0).attribution[:n_images])[:, best]
    return boxes, (rows["candidates"][:n_images, best] == 0).tolist()


def outline(axis: Any, box: Tensor, colour: str, dashed: bool = False) -> None:
    """Draws a box (left, top, right, bottom), in pixels, over a picture."""
    from matplotlib.patches import Rectangle

    left, top, right, bottom = (float(edge) - 0.5 for edge in box)
    axis.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, ec=colour, lw=1.4, ls="--" if dashed else "-")
    )
