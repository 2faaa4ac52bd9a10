"""What a finished job found, in a few lines: read from its score folder, so that a job of last week says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.engine.scores import read_status, read_summary
from pomelo_lab.results.sheet import FILE

NO_VALUE = "–"


def print_report(folder: Path, brief: bool = False) -> None:
    """Print the scores of a job, its images, the classifier's accuracy on them, its sheet and its folder.

    Args: brief: one line instead of the scores, for the jobs of a grid, which ends in a table.
    """
    summary, status = read_summary(folder), read_status(folder)
    lines = [] if brief else [*score_lines(summary), *image_lines(status.get("images") or {})]
    if (folder / FILE).exists():
        lines.append(f"sheet:   {folder / FILE}")
    print("\n".join([*lines, f"results: {folder}"]))


def score_lines(summary: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The scores as a table of plain text: name, direction, unit, mean, standard deviation over images, images."""
    if not summary:
        return ["no scores: metrics=none"]
    units = any(row.get("unit") for row in summary.values())
    heads = ["score", "better", *(["unit"] if units else []), "mean ± std", "images"]
    rows = []
    for name, row in summary.items():
        unit = [row.get("unit") or ""] if units else []
        rows.append(
            [name, row.get("direction") or NO_VALUE, *unit, mean_text(row.get("mean"), row.get("std")), count_text(row)]
        )
    return ["", *aligned([heads, *rows], right=(len(heads) - 1,)), ""]


def mean_text(mean: float | None, std: float | None) -> str:
    """A mean to three digits, its standard deviation to as many decimals."""
    if mean is None:
        return "no finite value"
    decimals = max(0, 2 - exponent(max(abs(mean), abs(std or 0.0))))
    if decimals > 6:
        return f"{mean:.2e}" + (f" ± {std:.1e}" if std is not None else "")
    return f"{mean:.{decimals}f}" + (f" ± {std:.{decimals}f}" if std is not None else "")


def exponent(value: float) -> int:
    """The power of ten of a number: 0.02 -> -2."""
    return int(f"{value:e}".partition("e")[2]) if value else 0


def count_text(row: Mapping[str, Any]) -> str:
    """How many images a mean rests on, and how many more have no finite value."""
    return f"{row.get('n', 0)}" + (f" + {row['n_nan']} NaN" if row.get("n_nan") else "")


def image_lines(images: Mapping[str, Any]) -> list[str]:
    """How many of the images, how to take others, and the classifier's accuracy on them; nothing for jobs of older
    versions."""
    if not images:
        return []
    n, of, split, sizes = images["n"], images["of"], images["split"], images.get("splits") or {}
    rest = {name: size for name, size in sizes.items() if name != split}
    others = ", ".join(f"{name} holds {size}" for name, size in rest.items())
    drawn, correct = (images.get("chosen") == word for word in ("drawn", "correct"))
    ways = [
        *(["more: n_images="] if n < of and not correct else []),
        f"others: dataset.split=, {others}" if others else "others: dataset.split=",
    ]
    right = f"{images['correct']} of {n} right, accuracy {images['correct'] / n:.2f}"
    chosen = " (images=correct takes no others)" if correct else ""
    total = of + sum(rest.values())
    how_many = f"{n} draws with replacement from {of}" if drawn else f"{n} of {total}"
    return [f"images:  {how_many}, split {split} ({'; '.join(ways)})", f"classifier on them: {right}{chosen}"]


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Align rows of text in columns, two spaces apart."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    padded = (
        [text.rjust(w) if k in right else text.ljust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    )
    return ["  ".join(row).rstrip() for row in padded]
