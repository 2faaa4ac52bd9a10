"""Mean difference between the counterfactuals of a method and their images (GCD, Fig. 4 left)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws one map per method and one row per explained label, all on one scale: the mean absolute change of each
    pixel over the images that reached the class."""
    changes: dict[tuple[str, str], tuple[style.Style, Tensor, int]] = {}
    for cell in cells:
        method = style.method_style(cell)
        label, (change, n) = str(cell.config["dataset"].get("label", "")), mean_change(cell)
        if n:
            changes.setdefault((label, method.key), (method, change, n))
    if not changes:
        raise style.NothingToDrawError("mean_change: no finished job has counterfactuals that reached their class")
    labels, methods = (list(dict.fromkeys(pair[index] for pair in changes)) for index in (0, 1))
    top = max(float(change.max()) for _, change, _ in changes.values())
    inch = 1.35
    with style.canvas(path, 0.9 + inch * len(methods), 0.4 + inch * 1.12 * len(labels)) as figure:
        axes = figure.subplots(len(labels), len(methods), squeeze=False)
        for i, label in enumerate(labels):
            for k, name in enumerate(methods):
                style.hide_axes(axes[i][k])
                if (label, name) in changes:
                    drawn, change, n = changes[label, name]
                    shown = axes[i][k].imshow(change.numpy(), vmin=0, vmax=top, cmap="magma", interpolation="nearest")
                    axes[i][k].set_title(
                        textwrap.fill(drawn.label, 18, break_long_words=False), color=drawn.colour, fontsize=8
                    )
                    axes[i][k].set_xlabel(f"{n} images", fontsize=7)
            axes[i][0].set_ylabel(label.replace("_", " "), fontsize=8)
        figure.colorbar(shown, ax=axes, shrink=0.8, label="mean absolute change")
    return path


def mean_change(cell: GridCell) -> tuple[Tensor, int]:
    """The mean absolute change [H,W] over a job's successes and over channels, and the number of successes."""
    job, total, n = cell.job, torch.zeros(()), 0
    for group in range(job.selection.n_groups):
        explanation, image = job.explanation(group), job.batch(group).image
        if explanation.counterfactual is not None:
            flipped = (explanation.extra["flipped"] > 0.5).cpu()
            total = total + (explanation.counterfactual - image).abs().mean(1).cpu()[flipped].sum(0)
            n += int(flipped.sum())
        job.forget()
    return total / max(n, 1), n
