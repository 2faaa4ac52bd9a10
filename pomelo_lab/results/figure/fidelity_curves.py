"""Deletion and insertion games with several base images (POMELO, Fig. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.results.figure import style
from pomelo_lab.results.grid import GridCell

GAMES = ("deletion", "insertion")
BETTER = {"deletion": "lower is better ↓", "insertion": "higher is better ↑"}


def draw(cells: Sequence[GridCell], path: Path) -> Path:
    """Draws one column per base image. The sampler that fills pixels as the game does has a thick dashed line, as in
    the paper."""
    groups = style.group_by_method(cells)
    metrics = dict.fromkeys(name for _, group in groups for name in group[0].job.parts.metrics)
    bases = list(dict.fromkeys(name.partition("_")[2] for name in metrics if name.partition("_")[0] in GAMES))
    with style.canvas(path, 1.2 + 2.15 * len(bases), 4.9) as figure:
        axes = figure.subplots(2, len(bases), sharex=True, sharey="row", squeeze=False)
        for game, line in zip(GAMES, axes, strict=True):
            for base, axis in zip(bases, line, strict=True):
                for method, group in groups:
                    rows = style.read_metric(group[0], f"{game}_{base}")
                    if not rows:
                        continue
                    as_game = fills_with(group[0], base)
                    weight = (
                        {"lw": 2.8, "ls": (0, (3, 1.2)), "zorder": 4}
                        if as_game
                        else {"lw": 1.3, "ls": method.line, "zorder": 3}
                    )
                    axis.plot(100 * rows["fraction"][0], rows["curve"].nanmean(0), color=method.colour, **weight)
                axis.set(xlim=(0, None))
            line[0].set_ylabel(f"{game}\nprobability of the class\n{BETTER[game]}")
        for base, top, bottom in zip(bases, *axes, strict=True):
            names = [method.label for method, group in groups if fills_with(group[0], base)]
            top.set_title(f"removed: {names[0] if names else base}")
            bottom.set_xlabel("flipped pixels, %")
        as_game = style.legend_entry(style.Style("fills as the game does", "#555555"), lw=2.8, ls=(0, (3, 1.2)))
        marks = [*(style.legend_entry(method) for method, _ in groups), as_game]
        style.add_legend(figure, marks)
    return path


def fills_with(cell: GridCell, base: str) -> bool:
    """Whether a cell's sampler fills pixels as a game does, such as "inpaint_ddim" in the game on "inpaint"."""
    sampler = str(cell.choices.get("sampler"))
    return base in (sampler, sampler.partition("_")[0])
