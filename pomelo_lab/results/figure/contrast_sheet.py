"""The images on which one method is most ahead of another, and those on which it is most behind (Agarwal & Nguyen,
Figs. S1, S4, S5)."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pomelo_lab.engine.store import GROUP
from pomelo_lab.results.figure import style
from pomelo_lab.results.figure.explanation_sheet import outline
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path, metrics: Sequence[str] = ("localization",), n_each: int = 5) -> Path:
    """Compares the first method with the second: the images where it is most ahead stand on the left, those where it is
    most behind on the right.

    Boxes are drawn if a metric derives them: the annotated box is dashed, and the box of the map at the metric's
    threshold is green where it counts as correct.

    Args:
        metrics: metrics that order the images. With several, the rank of an image is its worst rank.
        n_each: rows on each side, at most half of the images.
    """
    first, second = pair(cells)
    ahead = lead(first, second, metrics)
    order = ahead.argsort(descending=True, stable=True).tolist()
    n = min(n_each, len(order) // 2)
    blocks = (
        ("ahead", order[:n]),
        ("behind", lead(second, first, metrics).argsort(descending=True, stable=True).tolist()[:n]),
    )
    inch = 1.0
    with style.canvas(path, 0.5 + 6.6 * inch, 0.6 + inch * 1.03 * n, style.MAP_KEY) as figure:
        axes = figure.subplots(n, 7, squeeze=False, width_ratios=(1, 1, 1, 0.25, 1, 1, 1))
        for axis in axes.flat:
            style.hide_axes(axis)
        for start, (word, rows) in zip((0, 4), blocks, strict=True):
            image = torch.stack(of_rows(lambda g: first.job.batch(g).image, rows))
            part = getattr(first.job.parts.metrics[metrics[0]], "part", None)
            boxes = [] if part is None else of_rows(lambda g, part=part: first.job.batch(g).box(part), rows)
            for i in range(n):
                style.show_image(axes[i][start], image[i])
                for box in boxes[i][boxes[i].isfinite().all(-1)] if boxes else ():
                    outline(axes[i][start], box, "#222222", dashed=True)
            axes[0][start].set_title(f"{style.method_style(first).label} {word}", fontsize=8, loc="left")
            for column, cell in ((start + 1, first), (start + 2, second)):
                draw_maps(axes[:, column], cell, rows, image, metrics[0])
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.02, hspace=0.02)
    for cell in (first, second):
        cell.job.forget()
    return path


def draw_maps(axes: Any, cell: GridCell, rows: Sequence[int], image: Tensor, metric: str) -> None:
    """Draws a column with one method's maps over their images."""
    from pomelo_lab.results.overlay import overlay

    method, job = style.method_style(cell), cell.job
    maps = torch.stack(of_rows(lambda g: job.explanation(g).attribution, rows))
    edges = None
    if hasattr(job.parts.metrics[metric], "boxes"):
        stored = style.read_metric(cell, metric)["candidates"]
        best = job.parts.metrics[metric].choose_alpha(stored)
        edges, counts = job.parts.metrics[metric].boxes(maps)[:, best], (stored[rows, best] == 0).tolist()
    for i, overlaid in enumerate(overlay(image, maps)):
        style.show_image(axes[i], overlaid)
        if edges is not None:
            outline(axes[i], edges[i], "#1B9E4B" if counts[i] else "#D62728")
    axes[0].set_title(textwrap.fill(method.label, 11, break_long_words=False), color=method.colour, fontsize=8, y=1.0)


def pair(cells: Sequence[GridCell]) -> tuple[GridCell, GridCell]:
    """The first jobs of the first two methods that have attributions. Raises: ValueError when fewer than two exist."""
    with_maps = []
    for _, group in style.group_by_method(cells):
        if group[0].job.explanation(0).attribution is not None:
            with_maps.append(group[0])
        group[0].job.forget()
    if len(with_maps) < 2:
        raise ValueError(f"contrast_sheet: two methods with attributions are compared, {len(with_maps)} have finished")
    return with_maps[0], with_maps[1]


def lead(first: GridCell, second: GridCell, metrics: Sequence[str]) -> Tensor:
    """How far the first method is ahead on each image, as the smallest of its ranks by the metrics: [n], larger =
    further ahead.

    Images without a score of both methods come last. Raises: ValueError, which names a metric that the jobs lack.
    """
    places = []
    for metric in metrics:
        ours, theirs = values(first, metric), values(second, metric)
        n = min(len(ours), len(theirs))
        apart = ours[:n] - theirs[:n]
        places.append(apart.nan_to_num(-torch.inf).argsort(stable=True).argsort(stable=True))
    n = min(map(len, places))
    return torch.stack([ranks[:n] for ranks in places]).amin(0)


def values(cell: GridCell, metric: str) -> Tensor:
    """Scores of a job's images, float64 [n], larger = better. For a metric with a threshold it is the overlap at the
    chosen threshold."""
    rows = style.read_metric(cell, metric)
    if not rows:
        raise ValueError(f"contrast_sheet: the jobs have no metric {metric!r}")
    if "iou" in rows:
        return rows["iou"][:, cell.job.parts.metrics[metric].choose_alpha(rows["candidates"])].double()
    sign = -1.0 if getattr(cell.job.parts.metrics[metric], "direction", "higher") == "lower" else 1.0
    return sign * rows["value"].double()


def of_rows(get: Callable[[int], Tensor], rows: Sequence[int]) -> list[Tensor]:
    """Reads the groups of images that contain the rows with `get`, and returns the values row by row."""
    parts = {group: get(group) for group in dict.fromkeys(row // GROUP for row in rows)}
    return [parts[row // GROUP][row % GROUP] for row in rows]
