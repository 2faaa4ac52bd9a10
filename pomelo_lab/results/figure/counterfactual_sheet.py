"""Images, their counterfactuals and what changed, a pair of columns per method."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.preset import Cell


def draw(cells: Sequence[Cell], path: Path, n_images: int = 5) -> Path:
    """Differences are shown around gray, brighter where the counterfactual is; a red frame = the class was not reached.

    Args: n_images: rows, the first images of each job.
    """
    columns = []
    for cell in cells:
        job = cell.job
        found, batch, names = job.explanation(0), job.batch(0), job.dataset.class_names
        if found.counterfactual is not None:
            columns.append((style.look(cell), label(cell), batch.image[:n_images], found, [names[t] for t in found.target.tolist()]))
        job.forget()
    if not columns:
        raise ValueError("counterfactual_sheet: none of the finished jobs has counterfactuals to show")
    n, inch = min(n_images, len(columns[0][2])), 0.95
    blocks = {}
    for look, of, image, found, target in columns:
        blocks.setdefault(of, (image, target, []))[2].append((look, found))
    width = sum(1 + 2 * len(methods) for _, _, methods in blocks.values())
    with style.canvas(path, 0.7 + inch * width, 0.5 + inch * 1.03 * n) as figure:
        axes = figure.subplots(n, width, squeeze=False)
        at = 0
        for image, target, methods in blocks.values():
            for i in range(n):
                style.picture(axes[i][at], image[i])
                axes[i][at].set_ylabel(textwrap.fill(target[i], 8), fontsize=7)
            axes[0][at].set_title("Image", fontsize=8)
            for k, (look, found) in enumerate(methods):
                made, change = axes[0][at + 1 + 2 * k], axes[0][at + 2 + 2 * k]
                made.set_title(textwrap.fill(look.label, 12, break_long_words=False), color=look.colour, fontsize=8)
                change.set_title("change", color=look.colour, fontsize=8)
                for i in range(n):
                    style.picture(axes[i][at + 1 + 2 * k], found.counterfactual[i], framed=not found.extra["flipped"][i])
                    style.picture(axes[i][at + 2 + 2 * k], (0.5 + (found.counterfactual[i] - image[i]) / 2).clamp(0, 1))
            at += 1 + 2 * len(methods)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return path


def label(cell: Cell) -> str:
    """What separates the blocks of a sheet: the explained label."""
    return str(cell.config["dataset"].get("label", ""))
