"""The classifier's answers while a patch slides over an image (Agarwal & Nguyen 2020, Fig. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

SHOWN = 5


def draw(cells: Sequence[GridCell], path: Path, metric: str = "outside_change") -> Path:
    """Draws pictures of five patch positions for each filler, and below them the target's probability at every position
    of one row.

    The image and the row are those where a patch of the first filler lowers the probability most, so that differences
    between fillers are visible. This choice favours the other fillers. The means in the table do not depend on it.

    Cost: five fills for each filler. The answers of the classifier are read, and it is never asked. Its job keeps no
        fills, as they would be one image for each position of the patch in each image.
    """
    curves, pictures, touches, image, height = [], [], None, None, None
    for method, group in style.group_by_method(cells):
        job = group[0].job
        rows = style.read_metric(group[0], metric)
        if not rows:
            continue
        measured, batch = job.parts.metrics[metric], job.batch(0)
        top, left = measured.corners(job.parts.dataset.shape)
        if image is None:
            lost = (rows["clean"][:, None] - rows["answer"])[: len(batch)].nan_to_num(-1.0)
            image, position = divmod(int(lost.argmax()), len(top))
            height = top[position]
        batch = batch.select([image])
        line = (top == height).nonzero()[:, 0]
        touches = ~rows["outside"][image, line].bool()
        curves.append((method, left[line], rows["answer"][image, line], float(rows["clean"][image])))
        shown = line[torch.linspace(0, len(line) - 1, min(SHOWN, len(line))).round().long()]
        pictures.append((method, fill_patches(job, measured, batch, top[shown], left[shown]), left[shown]))
        job.forget()
    n = len(pictures[0][2])
    with style.canvas(path, 6.4, 1.15 * len(pictures) + 2.4) as figure:
        grid = figure.add_gridspec(len(pictures) + 1, n, height_ratios=[1.0] * len(pictures) + [1.9])
        for r, (method, images, starts) in enumerate(pictures):
            for c in range(n):
                axis = style.hide_axes(figure.add_subplot(grid[r, c]))
                axis.imshow(images[c].expand(3, -1, -1).permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
                if r == 0:
                    axis.set_title(f"left = {int(starts[c])}", fontsize=8, fontweight="normal")
                if c == 0:
                    axis.set_ylabel(
                        method.label,
                        rotation=0,
                        ha="right",
                        va="center",
                        color=method.colour,
                        fontweight="bold",
                        labelpad=8,
                    )
        axis = figure.add_subplot(grid[len(pictures), :])
        reach = curves[0][1]
        # empty when the whole row lies above or below the object
        for number, (start, stop) in enumerate(runs(touches.tolist())):
            label = None if number else "patch touches the box"
            axis.axvspan(float(reach[start]), float(reach[stop]), color="#F3EBDD", label=label)
        for method, position, answer, _ in curves:
            axis.plot(position, answer, color=method.colour, marker=method.marker, ms=3.5, label=method.label)
        axis.axhline(curves[0][3], color="#888888", lw=0.9, ls=":", label="image")
        axis.set(xlabel="left edge of the patch, pixels", ylabel="probability of the class", ylim=(-0.03, 1.03))
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=4)
    return path


def runs(marked: Sequence[bool]) -> list[tuple[int, int]]:
    """The first and last position of each run of True."""
    edges = [k for k, (before, now) in enumerate(zip([False, *marked], [*marked, False], strict=True)) if before != now]
    return [(start, stop - 1) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def fill_patches(job, measured, batch, top: Tensor, left: Tensor) -> Tensor:
    """The image with the patch filled at each position: [n,C,H,W]."""
    height, width = batch.image.shape[2:]
    y, x = torch.arange(height), torch.arange(width)
    inside_y = (y >= top[:, None]) & (y < top[:, None] + measured.patch_px)
    inside_x = (x >= left[:, None]) & (x < left[:, None] + measured.patch_px)
    keep = ~(inside_y[:, :, None] & inside_x[:, None])
    return measured.sampler.fill(batch.image, keep[None].to(batch.image), job.streams, batch.image_id, None)[0]
