"""Images, their counterfactuals and the changes, with two columns per method."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from pomelo_lab.config.tree import leaves
from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell
from pomelo_lab.types import Explanation

WIDEST = 17  # pictures per row; labels that need more space are stacked


def draw(cells: Sequence[GridCell], path: Path, n_images: int = 5) -> Path:
    """Draws counterfactuals and differences. Differences are gray plus the change: brighter where the counterfactual is
    brighter. A red frame marks a counterfactual that did not reach the class.

    Args: n_images: rows, the first images of each job.
    """
    columns = []
    for cell in cells:
        job = cell.job
        explanation, batch, name = job.explanation(0), job.batch(0), job.parts.dataset.class_name
        if explanation.counterfactual is not None:
            columns.append(
                (
                    style.method_style(cell),
                    cell.config["dataset"],
                    batch.image[:n_images],
                    explanation,
                    [name(t) for t in explanation.target.tolist()],
                )
            )
        job.forget()
    if not columns:
        raise ValueError("counterfactual_sheet: none of the finished jobs has counterfactuals to show")
    n, inch = min(n_images, len(columns[0][2])), 0.95
    blocks, heads = {}, name_datasets([node for _, node, *_ in columns])
    # one block per data set, because data sets have different images
    for head, (method, _, image, explanation, target) in zip(heads, columns, strict=True):
        blocks.setdefault(head, (image, target, []))[2].append((method, explanation))
    widths = [1 + 2 * len(methods) for _, _, methods in blocks.values()]
    stacked = sum(widths) > WIDEST
    width, height = (max(widths), n * len(blocks)) if stacked else (sum(widths), n)
    with style.canvas(
        path, 0.7 + inch * width, 0.5 + inch * 1.03 * height + 0.25 * stacked * (len(blocks) - 1), style.FRAME_KEY
    ) as figure:
        axes = figure.subplots(height, width, squeeze=False)
        for axis in axes.flat:
            style.hide_axes(axis)
        for index, (head, (image, target, methods)) in enumerate(blocks.items()):
            top, left = (n * index, 0) if stacked else (0, sum(widths[:index]))
            draw_block(axes[top : top + n, left:], head, image, target, methods)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return path


def draw_block(
    axes: Any, head: str, image: Tensor, target: Sequence[str], methods: Sequence[tuple[style.Style, Explanation]]
) -> None:
    """Draws the images of one data set, and two columns per method: axes [n,>=1+2*methods]."""
    axes[0][0].set_title(head, fontsize=8)
    for k, (method, _) in enumerate(methods):
        axes[0][1 + 2 * k].set_title(
            textwrap.fill(method.label, 12, break_long_words=False), color=method.colour, fontsize=8
        )
        axes[0][2 + 2 * k].set_title("change", color=method.colour, fontsize=8)
    for i in range(len(axes)):
        style.show_image(axes[i][0], image[i])
        axes[i][0].set_ylabel(textwrap.fill(target[i], 8), fontsize=7)
        for k, (_, explanation) in enumerate(methods):
            style.show_image(
                axes[i][1 + 2 * k], explanation.counterfactual[i], framed=not explanation.extra["flipped"][i]
            )
            style.show_image(axes[i][2 + 2 * k], (0.5 + (explanation.counterfactual[i] - image[i]) / 2).clamp(0, 1))


def name_datasets(nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A heading for the images of each data set: "Image", and the config values that differ between the data sets."""
    flat = [dict(leaves(node)) for node in nodes]
    keys = [
        key
        for key in dict.fromkeys(k for values in flat for k in values)
        if len({str(values.get(key)) for values in flat}) > 1
    ]
    return ["\n".join(["Image", *(f"{key.rpartition('.')[2]} {values.get(key)}" for key in keys)]) for values in flat]
