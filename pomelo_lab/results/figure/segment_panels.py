"""Figures over the number of segments: full-input samplers in the left panel, segment-wise samplers in the right
panel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

PANELS = (("full-input and neural samplers", "image"), ("segment-wise samplers", "segment"))


def draw_panels(
    figure: Any, cells: Sequence[GridCell], value: Callable[[GridCell], tuple[float, float] | None], ylabel: str
) -> None:
    """Draws two panels on one logarithmic axis: the mean with its interval over segmenter.n_segments. Controls are in
    both panels.

    Args: value: gives a cell's (mean, half width of its interval), or None to leave it out.
    Raises: NothingToDrawError when no cell has a positive mean.
    """
    if not any((point := value(cell)) is not None and point[0] > 0 for cell in cells):
        raise style.NothingToDrawError(f"no finished job has a number above 0 for: {ylabel.splitlines()[0]}")
    groups = style.group_by_method(cells)
    axes = figure.subplots(1, 2, sharey=True, sharex=True)
    ticks = sorted({n_segments(c) for c in cells})
    for axis, (title, reach) in zip(axes, PANELS, strict=True):
        for method, group in groups:
            if method.group == "reference" or (method.reach != reach and method.group != "control"):
                continue
            points: dict[int, list[tuple[float, float]]] = {}
            for cell in group:
                if (point := value(cell)) is not None:
                    points.setdefault(n_segments(cell), []).append(point)
            xs = sorted(points)
            mean = [sum(m for m, _ in points[x]) / len(points[x]) for x in xs]
            half = [max(h for _, h in points[x]) for x in xs]
            # on a logarithmic axis the interval is m exp(+-h/m)
            ratio = [h / m if m > 0 else 0.0 for m, h in zip(mean, half, strict=True)]
            low, high = (
                [m * abs(math.exp(sign * r) - 1) for m, r in zip(mean, ratio, strict=True)] for sign in (-1, 1)
            )
            line = axis.errorbar(
                xs, mean, [low, high], color=method.colour, ls=method.line, elinewidth=1, capsize=2, **dot(method)
            )
            for bar in line.lines[2]:
                bar.set(linestyle="-", alpha=0.6)
        axis.set(title=title, xlabel="segments asked for", xticks=ticks, yscale="log")
        axis.margins(x=0.08)
    axes[0].set_ylabel(ylabel)
    marks = [style.legend_entry(method, **dot(method)) for method, _ in groups]
    style.add_legend(figure, marks)


def dot(method: style.Style) -> dict[str, Any]:
    """The marker of a method."""
    cross = method.marker == "x"
    edge = {"mec": method.colour, "mew": 1.5} if cross else {"mec": "white", "mew": 0.7}
    return {"marker": method.marker, "ms": 10 if method.marker == "*" else 6, **edge}


def n_segments(cell: GridCell) -> int:
    """The number of segments that the segmenter is configured for."""
    return int(cell.config["segmenter"]["n_segments"])
