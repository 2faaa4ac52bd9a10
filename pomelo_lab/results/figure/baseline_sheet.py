"""Images, their baselines, the changes between them, and the attribution of the changes (the GCD paper, Fig. 5)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell


def draw(cells: Sequence[GridCell], path: Path, n_images: int = 5, clip: float = 0.995) -> Path:
    """Draws the baseline and the change of the first method, and the attribution maps of all methods.

    Red pixels support the class. Each map is scaled by the `clip` quantile of its magnitudes.

    Args: n_images: rows, the first images of each job.
    """
    from pomelo_lab.results.overlay import overlay

    pictures, names = [], None
    for method, group in style.group_by_method(cells):
        job = group[0].job
        explanation, image = job.explanation(0), job.batch(0).image[:n_images]
        if not pictures and explanation.counterfactual is not None:
            change = (0.5 + (explanation.counterfactual[:n_images] - image) / 2).clamp(0, 1)
            pictures = [
                ("Image", "#333333", image),
                ("Baseline", "#333333", explanation.counterfactual[:n_images]),
                ("Difference", "#333333", change),
            ]
            names = [job.parts.dataset.class_name(t) for t in explanation.target[:n_images].tolist()]
        if pictures and explanation.attribution is not None:
            pictures.append(
                (method.label, method.colour, overlay(image, explanation.attribution[:n_images], clip=clip))
            )
        job.forget()
    if not pictures:
        raise ValueError("baseline_sheet: none of the finished jobs has counterfactuals to show")
    inch, n = 0.95, len(names)
    with style.canvas(path, 0.7 + inch * len(pictures), 0.5 + inch * 1.03 * n, style.MAP_KEY) as figure:
        axes = figure.subplots(n, len(pictures), squeeze=False)
        for column, (title, colour, images) in enumerate(pictures):
            axes[0][column].set_title(textwrap.fill(title, 11, break_long_words=False), color=colour, fontsize=8)
            for i in range(n):
                style.show_image(axes[i][column], images[i])
        for i in range(n):
            axes[i][0].set_ylabel(textwrap.fill(names[i], 8), fontsize=7)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    return path
