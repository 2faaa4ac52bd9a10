"""Localisation error and saliency metric at every threshold, on the held-out images that choose the threshold
(Agarwal & Nguyen 2020, Fig. S6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

METRICS = {"localization": "localisation error", "saliency": "saliency metric"}


def draw(cells: Sequence[GridCell], path: Path, metrics: Sequence[str] = tuple(METRICS)) -> Path:
    """Draws one panel per metric: its mean over the held-out images at every alpha. A filled marker shows the
    minimum, a hollow one the scored images at that alpha."""
    groups = style.group_by_method(cells)
    with style.canvas(path, 8.4, 4.2) as figure:
        for axis, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
            for method, group in groups:
                if not (rows := style.read_metric(group[0], metric)):
                    continue
                measured, candidates = group[0].job.parts.metrics[metric], rows["candidates"].double()
                n, best = measured.n_scored(len(candidates)), measured.choose_alpha(candidates)
                held, scored = candidates[n:].nanmean(0), candidates[:n].nanmean(0)
                line = {"color": method.colour, "zorder": 2 if method.group == "baseline" else 3}
                axis.plot(measured.alphas, held, ls=method.line, lw=1.4, **line)
                axis.plot(measured.alphas[best], held[best], marker=method.marker, ms=6, **line)
                axis.plot(measured.alphas[best], scored[best], marker=method.marker, ms=6, mfc="white", **line)
            axis.set(
                title=METRICS.get(metric, metric), xlabel="threshold α, share of the map's maximum", xlim=(-0.02, 0.97)
            )
        style.add_legend(figure, [style.legend_entry(method) for method, _ in groups])
    return path
