"""Effect of a weight in an explainer's loss: the person's identity against the changes that independent networks
see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from pomelo_lab.config.tree import value_at
from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

CURVES = (
    ("fva_oracle", "same person", "#0072B2", "o"),
    ("target_seen", "target seen by the judge", "#D55E00", "D"),
    ("target_seen_2", "by the second judge", "#E69F00", "s"),
    ("flip_rate", "flips", "#8C8C8C", "x"),
)


def draw(cells: Sequence[GridCell], path: Path, key: str = "explainer.lambda_p", label: str = "weight") -> Path:
    """Draws shares over the weight on the left, and one share against the other on the right, with 95 % intervals
    over images. Better is up and to the right."""
    values = [value_at(cell.config, key) for cell in cells]
    numbers = [math.nan if value is None else float(value) for value in values]
    points = sorted(zip(numbers, (cell.summary for cell in cells), strict=True), key=lambda point: point[0])
    weights = [weight for weight, _ in points]
    places = list(range(len(points)))
    with style.canvas(path, 9.2, 3.9) as figure:
        left, right = figure.subplots(1, 2)
        for metric, name, colour, marker in CURVES:
            shares = [share(summary, metric) for _, summary in points]
            means, errors = [mean for mean, _ in shares], [error for _, error in shares]
            left.errorbar(
                places, means, errors, color=colour, marker=marker, ms=5, lw=1.4, elinewidth=0.9, capsize=2, label=name
            )
        left.set(xlabel=label, ylabel="share of images", ylim=(-0.03, 1.06), xticks=places)
        left.set_xticklabels([f"{weight:,.0f}" for weight in weights])
        for metric, name, colour, marker in CURVES[1:3]:
            x, x_error, y, y_error = (
                [share(summary, kind)[i] for _, summary in points] for kind in ("fva_oracle", metric) for i in (0, 1)
            )
            right.errorbar(
                x,
                y,
                y_error,
                x_error,
                color=colour,
                marker=marker,
                ms=5,
                lw=1.2,
                elinewidth=0.7,
                alpha=0.85,
                label=name,
            )
            if metric == "target_seen":
                for text, position in labels(weights, list(zip(x, y, strict=True))):
                    right.annotate(
                        text, position, xytext=(5, -11), textcoords="offset points", fontsize=7.5, color=colour
                    )
        right.set(xlabel="same person", ylabel="target seen", xlim=(-0.03, 1.06), ylim=(-0.03, 1.06))
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
    return path


def labels(weights: Sequence[float], places: Sequence[tuple[float, float]]) -> list[tuple[str, tuple[float, float]]]:
    """A text per point. A point within 0.05 of the last labelled one shares its text."""
    out: list[tuple[str, tuple[float, float]]] = []
    for weight, position in zip(weights, places, strict=True):
        if out and math.dist(out[-1][1], position) < 0.05:
            out[-1] = (f"{out[-1][0]}; {weight:,.0f}", out[-1][1])
        else:
            out.append((f"{weight:,.0f}", position))
    return out


def share(summary: Mapping, metric: str) -> tuple[float, float]:
    """(mean, half the width of its 95 % interval) of a score per image."""
    row = summary.get(metric) or {}
    mean = row.get("mean")
    if mean is None or not math.isfinite(mean):
        return math.nan, 0.0
    return mean, 1.96 * (row.get("std") or 0.0) / math.sqrt(max(1, row.get("n") or 1))
