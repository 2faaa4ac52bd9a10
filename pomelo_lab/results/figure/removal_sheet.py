"""Images whose object is filled, with one column per filler (Agarwal & Nguyen, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path, metric: str = "removal_accuracy", n_images: int = 4) -> Path:
    """Draws the first images of the job, filled as the metric fills them.

    Args: metric: a removal metric of the suite; it defines the filled region and the filler.
    Cost: n_images fills for each filler; the classifier is never asked. The job keeps no fills, as the metric would
        store one image for each image of the data set, of which the figure shows four.
    """
    columns = []
    for method, group in style.group_by_method(cells):
        job = group[0].job
        if metric in job.parts.metrics:
            case = job.parts.metrics[metric].fill(
                job.batch(0).select(range(min(n_images, job.selection.group_size(0)))), job.streams, None
            )
            columns.append((method, case))
        job.forget()
    n = min(len(images) for _, images in columns)
    with style.canvas(path, 1.0 * len(columns) + 0.2, 1.0 * n + 0.35) as figure:
        for r, line in enumerate(figure.subplots(n, len(columns), squeeze=False)):
            for (method, images), axis in zip(columns, line, strict=True):
                style.hide_axes(axis).imshow(
                    images[r].expand(3, -1, -1).permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest"
                )
                if r == 0:
                    axis.set_title(method.label, color=method.colour, fontsize=8)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return path
