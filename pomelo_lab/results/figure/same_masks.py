"""Perturbed images of LIME with and without an in-painter for the same masks, and maps of several seeds (Agarwal &
Nguyen 2020, Fig. 9 and S8 to S15)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell
from pomelo_lab.types import Perturbations

N_MASKS = 6


def draw(
    cells: Sequence[GridCell], path: Path, metric: str = "sensitivity_ssim", image: int = 0, n_masks: int = N_MASKS
) -> Path:
    """Draws one row per filler: the first n_masks random perturbations with the probability of the class, then one map
    per seed.

    Masks depend on the image and the seed only, so column k has the same mask in all rows. The masks are not selected.
    `image` is the position of the image in the job.
    """
    from pomelo_lab.results.overlay import overlay

    lines = []
    for method, group in style.group_by_method(cells):
        job = group[0].job
        if metric not in job.parts.metrics or not job.parts.perturbs:
            continue
        batch, seen, target = job.batch(0), job.perturbations(0, probability=True), int(job.target(0)[image])
        pictures = Perturbations.dequantize(seen.image[image, 1 : n_masks + 1])
        answers = seen.probability[image, 1 : n_masks + 1, target].tolist()
        maps = [other.explanation(0).attribution[[image]] for other in job.siblings(job.parts.metrics[metric])]
        shown = [overlay(batch.image[[image]], pixels)[0] for pixels in maps]
        lines.append((method, batch.image[image], float(job.clean(0)[image, target]), pictures, answers, shown))
        job.forget()
    if not lines:
        raise ValueError(f"same_masks: none of the finished jobs has perturbations and {metric}")
    width, inch = 1 + len(lines[0][3]) + max(len(line[-1]) for line in lines), 0.92
    with style.canvas(path, 0.8 + inch * width, 0.4 + 1.18 * inch * len(lines), style.MAP_KEY) as figure:
        for axes, (method, original, clean, pictures, answers, shown) in zip(
            figure.subplots(len(lines), width, squeeze=False), lines, strict=True
        ):
            for axis, pixels, p in zip(axes, [original, *pictures], [clean, *answers], strict=False):
                style.show_image(axis, pixels).set_title(f"{p:.3f}", fontsize=8, fontweight="normal")
            axes[0].set_ylabel(
                method.label, rotation=0, ha="right", va="center", color=method.colour, fontweight="bold", labelpad=8
            )
            for number, (axis, pixels) in enumerate(zip(axes[1 + len(pictures) :], shown, strict=False)):
                style.show_image(axis, pixels).set_title(f"map {number + 1}", fontsize=8, fontweight="normal")
            for axis in axes[1 + len(pictures) + len(shown) :]:
                axis.set_axis_off()
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return path
