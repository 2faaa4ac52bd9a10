"""Correlations between changes of attributes and changes of the explained attribute, compared with their
correlations in the data (the DiME paper, Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pomelo_lab.metric.attribute_change import correlations
from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

Bar = tuple[Tensor, Tensor, Tensor]  # for every attribute [A]: the correlation and the ends of its interval


def draw(
    cells: Sequence[GridCell], path: Path, metric: str = "cd", n_attributes: int = 9, n_resamples: int = 1000
) -> Path:
    """Draws bars for the data and for each method, for the attributes that correlate most with the explained one in the
    data. Whiskers hold 95 % of the resamples.

    Args:
        metric: name of the correlation difference in the suite, whose stored changes are used.
        n_resamples: resamples of the images for the whiskers.
    """
    bars, names, truth, query = [], None, None, 0
    for cell in cells:
        rows, job = style.read_metric(cell, metric), cell.job
        if not rows:
            continue
        measured = job.parts.metrics[metric]
        if names is None:
            names, truth, query = (
                list(measured.dataset.attribute_names),
                job.reference(metric)["correlation"].double().cpu(),
                measured.column(measured.attribute),
            )
        if (change := rows["change"][rows["counted"] > 0.5].double()).shape[0] > 1:
            bars.append((style.method_style(cell), resample_bar(change, query, n_resamples)))
    if names is None:
        raise ValueError(f"correlation_bars: none of the finished jobs has scores of {metric}")
    others = [a for a in truth.abs().argsort(descending=True).tolist() if a != query][:n_attributes]
    with style.canvas(path, 1.6 + 0.72 * len(others), 3.3) as figure:
        axis = figure.subplots()
        width = 0.8 / (1 + len(bars))
        places = torch.arange(len(others)) - 0.4 + width / 2
        axis.bar(places, truth[others], width=width, color="#333333", label="in the data")
        for k, (method, (correlation, low, high)) in enumerate(bars, start=1):
            whisker = torch.stack([correlation - low, high - correlation])[:, others].clamp_min(0)
            error = {"yerr": whisker.numpy(), "ecolor": "#555555", "capsize": 1.5, "error_kw": {"lw": 0.8}}
            axis.bar(
                places + k * width, correlation[others], width=width, color=method.colour, label=method.label, **error
            )
        axis.axhline(0, color="#555555", lw=0.8)
        axis.set_xticks(
            range(len(others)), [names[a].replace("_", " ") for a in others], rotation=40, ha="right", fontsize=8
        )
        top = max(float(values[others].abs().max()) for values in (truth, *(end for _, bar in bars for end in bar)))
        axis.set(ylabel=f"correlation with\n{names[query].replace('_', ' ')}", ylim=(-1.1 * top, 1.1 * top))
        axis.grid(visible=False, axis="x")
        style.add_legend(figure, axis.get_legend_handles_labels()[0])
    return path


def resample_bar(change: Tensor, query: int, n: int) -> Bar:
    """Correlations of changes [B,A] with those of the query, and the interval that holds 95 % of n resamples of the
    images."""
    rows = torch.randint(len(change), (n, len(change)), generator=torch.Generator().manual_seed(0))
    replicates = torch.cat([correlations(change[chunk], query) for chunk in rows.split(100)])
    low, high = replicates.quantile(torch.tensor([0.025, 0.975], dtype=replicates.dtype), dim=0)
    return correlations(change[None], query)[0], low, high
