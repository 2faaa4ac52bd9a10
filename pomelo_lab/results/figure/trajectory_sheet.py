"""The steps of a guided chain: noisy images, clean estimates and the norms of the guidance terms (DiME, Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.explainer.trajectory import TERMS
from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell
from pomelo_lab.types import Batch, Explanation, Perturbations

COLOURS = {"class": "#D55E00", "perceptual": "#0072B2", "distance": "#8C8C8C"}


def draw(cells: Sequence[GridCell], path: Path, n_images: int = 2) -> Path:
    """Draws a block of rows per method, from the first step to the last: the noisy image above, and below it the clean
    estimate at which the guidance is taken.

    The right panel shows the mean norms of the guidance terms, with their range over images. A red frame marks a
    counterfactual that did not reach the class.

    Args: n_images: per method, the first images of each job. Methods whose explainer records no steps are left out.
    """
    blocks: list[tuple[style.Style, Batch, Explanation]] = []
    for cell in cells:
        made = cell.job.explanation(0)
        if "noisy" in made.extra:
            blocks.append((style.method_style(cell), cell.job.batch(0), made))
        cell.job.forget()
    if not blocks:
        raise ValueError("trajectory_sheet: none of the finished jobs has recorded its way: set explainer.n_recorded")
    n, inch = min(n_images, len(blocks[0][1])), 0.95
    width = 2 + max(made.extra["noisy"].shape[1] for _, _, made in blocks)
    with style.canvas(path, inch * width + 4.2, len(blocks) * (0.45 + 2 * inch * n), style.FRAME_KEY) as figure:
        for part, (method, batch, made) in zip(
            figure.subfigures(len(blocks), 1, squeeze=False)[:, 0], blocks, strict=True
        ):
            left, right = part.subfigures(1, 2, width_ratios=(inch * width + 0.7, 3.5))
            left.suptitle(method.label, color=method.colour, fontsize=9, fontweight="bold")
            pictures(left.subplots(2 * n, width, squeeze=False), batch, made, n)
            norms(right.subplots(), made)
    return path


def pictures(axes: Any, batch: Batch, made: Explanation, n: int) -> None:
    """Draws the image, its recorded steps, and its counterfactual: axes [2n,>=P+2]."""
    noisy, clean, places = made.extra["noisy"], made.extra["clean"], made.extra["place"][0].tolist()
    for axis in axes.flat:
        style.hide_axes(axis)
    for row in range(n):
        above, below = axes[2 * row], axes[2 * row + 1]
        style.show_image(above[0], batch.image[row])
        above[0].set_ylabel("noisy", fontsize=7)
        below[0].set_ylabel("clean", fontsize=7)
        for k in range(len(places)):
            style.show_image(above[k + 1], Perturbations.dequantize(noisy[row, k]))
            style.show_image(below[k + 1], Perturbations.dequantize(clean[row, k]))
        last = below[len(places) + 1]
        style.show_image(last, made.counterfactual[row], framed=not made.extra["flipped"][row])
    axes[0][0].set_title("Image", fontsize=8)
    for k, steps_left in enumerate(places):
        axes[0][k + 1].set_title(f"{steps_left:g} left" if k == 0 else f"{steps_left:g}", fontsize=8)
    axes[0][len(places) + 1].set_title("Result", fontsize=8)


def norms(axis: Any, made: Explanation) -> None:
    """Draws the norms of the guidance terms over the remaining steps."""
    places = made.extra["place"][0].tolist()
    for k, name in enumerate(TERMS):
        sizes = made.extra["push"][:, :, k].double()
        if float(sizes.max()) > 0:
            axis.plot(places, sizes.mean(0).tolist(), color=COLOURS[name], marker="o", ms=3, label=name)
            axis.fill_between(
                places, sizes.amin(0).tolist(), sizes.amax(0).tolist(), color=COLOURS[name], alpha=0.15, lw=0
            )
    if not axis.lines:
        style.hide_axes(axis).text(0.5, 0.5, "no guidance", ha="center", va="center", transform=axis.transAxes)
        return
    axis.set(xlabel="steps left", ylabel="norm of the term")
    axis.set_yscale("symlog", linthresh=0.1)
    axis.invert_xaxis()
    axis.legend(fontsize=8)
