"""The share of images that each h-direction flips, compared with the g-direction and random directions (Sobieski &
Biecek, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws one line per explained label. A direction flips an image when some step along it reaches the goal's
    class. Dashed lines show the g-direction, dotted lines random directions."""
    labels = list(dict.fromkeys(str(c.config["dataset"].get("label", "")) for c in cells))
    with style.canvas(path, 5.6, 3.6) as figure:
        axis = figure.subplots()
        for cell in cells:
            flip_rates = rates(cell)
            if flip_rates is None:
                continue
            label, colour = (
                (name := str(cell.config["dataset"].get("label", ""))),
                COLOURS[labels.index(name) % len(COLOURS)],
            )
            kind = cell.config["explainer"]["direction"]
            if kind == "g":
                axis.axhline(float(flip_rates[0]), color=colour, ls="--", lw=1.2)
            elif kind == "random":
                axis.plot(
                    range(1, len(flip_rates) + 1), flip_rates.tolist(), color=colour, marker="x", ms=5, ls=":", lw=1.0
                )
            else:
                axis.plot(
                    range(1, len(flip_rates) + 1), flip_rates.tolist(), color=colour, marker="o", ms=5, label=label
                )
        axis.set(xlabel="h-direction, by eigenvalue (dashed: g, dotted: random)", ylabel="flip rate", ylim=(0, 1.03))
        axis.xaxis.get_major_locator().set_params(integer=True)
        handles = axis.get_legend_handles_labels()[0]
        if handles:
            style.add_legend(figure, handles)
    return path


def rates(cell: GridCell) -> torch.Tensor | None:
    """The share of a job's images that each of its directions flips; None for explainers without directions."""
    job, parts = cell.job, []
    for group in range(job.selection.n_groups):
        score = job.explanation(group).extra.get("score")
        if score is None:
            return None
        parts.append((score.unflatten(1, (len(cell.config["explainer"]["index"]), -1)) > 0).any(2))
        job.forget()
    return torch.cat(parts).float().mean(0)
