"""Counterfactuals of the same images from several runs.

DiME, Fig. 3: several seeds; GCD, Fig. 2: several source images.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell
from pomelo_lab.types import Explanation


def draw(cells: Sequence[GridCell], path: Path, metric: str | None = None, by: str = "seed", n_images: int = 4) -> Path:
    """Draws a block of columns per method and label, with one column per run. A red frame marks a counterfactual that
    did not reach the class.

    Args:
        metric: a metric that compares explanations of several runs of a job; these runs are drawn. None = the runs are
            jobs of the preset.
        by: dotted config key that differs between the runs.
        n_images: rows, the first images of each job.
    """
    blocks: dict[tuple[str, str], list[tuple[style.Style, str, Explanation]]] = {}
    images, targets = {}, {}
    for cell in cells:
        method = style.method_style(cell)
        label, job = str(cell.config["dataset"].get("label", "")), cell.job
        for run, explanation in runs(cell, metric, by):
            if explanation.counterfactual is not None:
                images[label] = job.batch(0).image[:n_images]
                targets[label] = [job.parts.dataset.class_name(t) for t in explanation.target[:n_images].tolist()]
                blocks.setdefault((label, method.key), []).append((method, run, explanation))
        job.forget()
    if not blocks:
        raise ValueError("run_sheet: none of the finished jobs has counterfactuals to show")
    n, inch = min(map(len, targets.values())), 0.95
    width = len(images) + sum(map(len, blocks.values()))
    with style.canvas(path, 0.7 + inch * width, 0.5 + inch * 1.03 * n, style.FRAME_KEY) as figure:
        axes, column = figure.subplots(n, width, squeeze=False), 0
        for label, image in images.items():
            axes[0][column].set_title("Image", fontsize=8)
            for i in range(n):
                style.show_image(axes[i][column], image[i])
                axes[i][column].set_ylabel(textwrap.fill(targets[label][i], 8), fontsize=7)
            column += 1
            for (block_label, _), columns in blocks.items():
                for method, run, explanation in columns if block_label == label else ():
                    axes[0][column].set_title(
                        textwrap.fill(f"{method.label}, {run}", 14, break_long_words=False),
                        color=method.colour,
                        fontsize=7.5,
                    )
                    for i in range(n):
                        style.show_image(
                            axes[i][column], explanation.counterfactual[i], framed=not explanation.extra["flipped"][i]
                        )
                    column += 1
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return path


def runs(cell: GridCell, metric: str | None, by: str) -> Iterator[tuple[str, Explanation]]:
    """The label of each run, and its explanations of the first group of images."""
    job = cell.job
    for run in job.siblings(job.parts.metrics[metric]) if metric in job.parts.metrics else [job]:
        node = run.config
        for part in by.split("."):
            node = node.get(part, {})
        yield f"{by.rpartition('.')[2]} {node}", run.explanation(0)
