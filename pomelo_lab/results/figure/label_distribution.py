"""Distribution of the winning classes on perturbed images, compared with the labels of the training images.

POMELO, Fig. 6, and Agarwal & Nguyen (2020), Fig. 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

MANY = 20  # largest number of classes in a legend; with more, a histogram of the most frequent classes is drawn
N_TOP = 50  # number of most frequent classes in a histogram, as in the paper's figure
ORDER = ("proposed", "limit", "yours", "training", "reference", "control", "baseline")


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws one bar per sampler. The training labels stand between full-input and segment-wise samplers.

    With many classes each sampler gets a histogram instead.
    """
    bars, names = [], ()
    for method, group in style.group_by_method(cells):
        rows = style.read_metric(group[0], "label_distribution")
        if not rows:
            continue
        job = group[0].job
        share = rows["distribution"]
        bars.append((kind(method), method.label, share[share.isfinite().all(1)].mean(0).tolist()))
        training, names = job.reference("label_distribution")["distribution"].tolist(), job.parts.dataset.class_names
    if len(names) > MANY:
        return histograms(bars, names, path)
    bars.append(("training", "Training labels", training))
    bars.sort(key=lambda bar: ORDER.index(bar[0]))  # a stable sort keeps the order of the table within a group
    palette = {n: style.CLASSES.get(n, style.CLASS_SPARE[i % len(style.CLASS_SPARE)]) for i, n in enumerate(names)}
    positions, y, last = [], 0.0, bars[0][0]
    for group, _, _ in bars:
        y += 1.0 + 0.35 * (group != last)
        last = group
        positions.append(-y)
    with style.canvas(path, 7.2, 0.75 + 0.36 * (positions[0] - positions[-1] + 1)) as figure:
        axis = figure.subplots()
        left = [0.0] * len(bars)
        for k, name in enumerate(names):
            share = [bar[2][k] for bar in bars]
            axis.barh(
                positions, share, left=left, height=0.82, color=palette[name], label=name, edgecolor="white", lw=0.8
            )
            for position, start, width in zip(positions, left, share, strict=True):
                if width >= 0.045:
                    dark = sum(int(palette[name][i : i + 2], 16) for i in (1, 3, 5)) < 380
                    colour = "white" if dark else "#222222"
                    axis.text(
                        start + width / 2,
                        position,
                        f"{100 * width:.0f}",
                        ha="center",
                        va="center",
                        fontsize=7.5,
                        color=colour,
                    )
            left = [a + b for a, b in zip(left, share, strict=True)]
        axis.set(
            yticks=positions,
            yticklabels=[bar[1] for bar in bars],
            xlim=(0, 1),
            xlabel="share of perturbed images by winning class, %",
        )
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
        for text, bar in zip(axis.get_yticklabels(), bars, strict=True):
            text.set_fontweight("bold" if bar[0] == "training" else "normal")
        axis.grid(False)
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        square = {"handlelength": 1, "handleheight": 1}
        figure.legend(
            *axis.get_legend_handles_labels(), loc="outside upper center", ncols=min(len(names), 10), **square
        )
    return path


def histograms(bars: Sequence[tuple[str, str, list[float]]], names: Sequence[str], path: Path) -> Path:
    """Draws one panel per sampler with its most frequent classes in order, the first three by name. All panels share
    their scale."""
    top = [sorted(zip(share, names, strict=True), reverse=True)[:N_TOP] for _, _, share in bars]
    highest = max(share[0][0] for share in top)
    with style.canvas(path, 7.2, 1.9 * len(bars) + 0.5) as figure:
        for axis, (_, label, _), share in zip(
            figure.subplots(len(bars), 1, sharex=True, squeeze=False)[:, 0], bars, top, strict=True
        ):
            axis.bar(range(len(share)), [100 * s for s, _ in share], color="#6B7A8F", width=0.85)
            for position, (s, name) in enumerate(share[:3]):
                axis.text(
                    position + 0.6, 100 * s, f"{name.split(',')[0][:28]}, {100 * s:.1f} %", fontsize=7.5, va="center"
                )
            taken = 100 * sum(s for s, _ in share[:3])
            axis.set(
                ylim=(0, 115 * highest),
                ylabel="%",
                xlim=(-0.6, len(share) + 6),
                title=f"{label}: three classes take {taken:.1f} %",
            )
        axis.set_xlabel(f"classes by how often they win on perturbed images, the first {len(top[0])} of {len(names)}")
    return path


def kind(method: style.Style) -> str:
    """The group of a method's bar: segment-wise methods last, the user's full-input methods together with the
    paper's."""
    if method.reach == "segment":
        return "baseline"
    return method.group if method.group in ORDER else "proposed"
