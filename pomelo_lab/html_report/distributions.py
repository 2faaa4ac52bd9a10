"""Small pictures (SVG) of how the scores of single images are distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

BINS, WIDTH, LEFT, ROW = 24, 380, 140, 30  # bins of a histogram; pixels: picture, names, height of a row
LETTERS = 18  # of a name


def draw_distribution(title: str, rows: Mapping[str, Sequence[float]]) -> str:
    """The histograms of a metric, one below the other on one axis, each with a line at its mean.

    Args: rows: name -> finite values.
    """
    low, high = min(map(min, rows.values())), max(map(max, rows.values()))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    counts = {name: np.histogram(values, edges)[0] for name, values in rows.items()}
    height, scale = ROW * len(rows) + 18, (WIDTH - LEFT - 6) / (edges[-1] - edges[0])
    parts = [
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<title>{escape(title)}: {escape(describe(rows))}</title>",
    ]
    for i, (name, values) in enumerate(rows.items()):
        base, width = ROW * (i + 1), (WIDTH - LEFT - 6) / BINS
        parts.append(f'<text x="{LEFT - 6}" y="{base - 6}" text-anchor="end">{escape(shortened(name))}</text>')
        parts.append(f'<path class="axis" d="M{LEFT} {base}h{WIDTH - LEFT - 6}"/>')
        largest = max(1, int(counts[name].max()))
        for k, count in enumerate(counts[name].tolist()):
            if count:
                tall = (ROW - 6) * count / largest
                parts.append(
                    f'<rect x="{LEFT + k * width:.1f}" y="{base - tall:.1f}" width="{width - 1:.1f}" '
                    f'height="{tall:.1f}"/>'
                )
        mean = LEFT + (float(np.mean(values)) - edges[0]) * scale
        parts.append(f'<path class="mean" d="M{mean:.1f} {base}v-{ROW - 4}"/>')
    parts.append(f'<text x="{LEFT}" y="{height - 4}">{edges[0]:.4g}</text>')
    parts.append(f'<text x="{WIDTH - 6}" y="{height - 4}" text-anchor="end">{edges[-1]:.4g}</text></svg>')
    return "".join(parts)


def describe(rows: Mapping[str, Sequence[float]]) -> str:
    """The pictures in words: the smallest value, the mean and the largest value of each row."""
    return "; ".join(
        f"{name} from {min(values):.4g} to {max(values):.4g}, mean {np.mean(values):.4g}, {len(values)} images"
        for name, values in rows.items()
    )


def shortened(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
