"""Attributions over their images, a column per method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.preset import Cell


def draw(cells: Sequence[Cell], path: Path, n_images: int = 5, clip: float = 1.0) -> Path:
    """Red speaks for the explained class, blue against it, each map scaled by its own largest magnitude.

    Args:
        n_images: rows, the first images of the job.
        clip: scale by this quantile of the magnitudes instead; maps that change from pixel to pixel have lone peaks.
    """
    from pomelo_lab.results.overlay import overlay

    columns = []
    for look, group in style.seed_means(cells):
        job = group[0].job
        found = job.explanation(0)
        if found.attribution is not None:
            batch = job.batch(0)
            columns.append((look, overlay(batch.image[:n_images], found.attribution[:n_images], clip=clip)))
            picture, target, names = batch.image[:n_images], found.target[:n_images].tolist(), job.dataset.class_names
        job.forget()
    n = len(picture)
    inch = 0.95
    with style.canvas(path, 0.7 + inch * (len(columns) + 1), 0.5 + inch * 1.03 * n) as figure:
        axes = figure.subplots(n, len(columns) + 1, squeeze=False)
        for i, line in enumerate(axes):
            style.picture(line[0], picture[i])
            line[0].set_ylabel(names[target[i]], rotation=0, ha="right", va="center", labelpad=6)
            for (_, overlaid), axis in zip(columns, line[1:], strict=True):
                style.picture(axis, overlaid[i])
        heads = [("Image", "#333333"), *((look.label, look.colour) for look, _ in columns)]
        for axis, (title, colour) in zip(axes[0], heads, strict=True):
            axis.set_title(textwrap.fill(title, 11, break_long_words=False), color=colour, fontsize=8)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return path
