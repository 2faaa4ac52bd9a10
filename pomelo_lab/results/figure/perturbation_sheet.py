"""Perturbed images, with one row per sampler (POMELO, Figs. 1 and 12)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

GAP_PX = 4  # white pixels between pictures


def draw(cells: Sequence[GridCell], path: Path, n_images: int = 2, n_shown: int = 5) -> Path:
    """Draws each image once, and n_shown of its perturbations by every sampler.

    Args:
        n_images: blocks of columns, one per image.
        n_shown: perturbations per image, without the first one, which is unperturbed.
    """
    rows = []
    for method, group in style.group_by_method(cells):
        job = group[0].job
        rows.append((method, job.batch(0).image[:n_images], job.perturbations(0).image[:n_images]))
        job.forget()
    n_images = min(len(image) for _, image, _ in rows)
    n_shown = min(n_shown, *(max(1, p.shape[1] - 1) for _, _, p in rows))
    inch = 0.78
    share = 1 + GAP_PX / rows[0][1].shape[-1]
    with style.canvas(path, 1.3 + inch * n_images * (n_shown + 1.3) * share, 0.3 + inch * 1.06 * len(rows)) as figure:
        ratios = [r for _ in range(n_images) for r in (1, n_shown * share - share + 1, 0.08)][:-1]
        every = figure.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
        for blank in every[:, 2::3].flatten():
            blank.set_visible(False)
        axes = every[:, [k for k in range(len(ratios)) if k % 3 != 2]]
        for (method, image, perturbed), line in zip(rows, axes, strict=True):
            for i in range(n_images):
                left, right = style.hide_axes(line[2 * i]), style.hide_axes(line[2 * i + 1])
                left.imshow(strip(image[i : i + 1]), interpolation="nearest")
                chosen = (
                    perturbed[i, -min(n_shown, len(perturbed[i])) :]
                    if len(perturbed[i]) <= n_shown
                    else perturbed[i, 1 : n_shown + 1]
                )
                right.imshow(strip(chosen.float() / 255), interpolation="nearest")
            line[0].set_ylabel(
                method.label, rotation=0, ha="right", va="center", color=method.colour, fontweight="bold", labelpad=8
            )
        for i in range(n_images):
            axes[0, 2 * i].set_title("image", fontsize=8.5, fontweight="normal")
            axes[0, 2 * i + 1].set_title("perturbed", fontsize=8.5, fontweight="normal")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.015, wspace=0.01, hspace=0.01)
    return path


def strip(images):
    """Joins pictures [n,C,H,W] in one row with white gaps: [H,W',3] for imshow."""
    import torch

    images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
    padded = torch.nn.functional.pad(images, (0, GAP_PX, 0, 0), value=1.0)
    return torch.cat(list(padded), 2)[:, :, :-GAP_PX].permute(1, 2, 0).clamp(0, 1).numpy()
