"""The result of a finished job in a few lines. It is read from the score folder, so it can be printed at any later
time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.engine.score_files import SHEET, read_status, read_summary

NO_VALUE = "–"
ALREADY_DONE = "already done: force=true computes it again"


def print_finished(config: Mapping[str, Any], folder: Path, brief: bool = False) -> None:
    """Prints the report of a job that was finished before, and what its data set left out of its preset.

    Args: config: the checked config.
    """
    say_left_out(config)
    print(ALREADY_DONE)
    print_report(folder, brief)


def say_left_out(config: Mapping[str, Any]) -> None:
    """Names the keys of a preset that the data set does not have."""
    for key, reason in config.get("left_out", {}).items():
        print(f"left out: {key}: {reason}", file=sys.stderr)


def print_report(folder: Path, brief: bool = False) -> None:
    """Prints the scores of a job, its images, the classifier's accuracy on them, its picture sheet and its folder.

    Args: brief: print one line instead of the scores, for jobs of a grid, which ends in a table.
    """
    summary, status = read_summary(folder), read_status(folder)
    lines = [] if brief else [*score_lines(summary), *image_lines(status.get("images") or {})]
    if (folder / SHEET).exists():
        lines.append(f"sheet:   {folder / SHEET}")
    print("\n".join([*lines, f"results: {folder}"]))


def score_lines(summary: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The scores as a table of plain text: name, direction, unit, mean, standard deviation over images, number of
    images."""
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
    return ["", *align_columns([heads, *rows], right=(len(heads) - 1,)), ""]


def mean_text(mean: float | None, std: float | None) -> str:
    """A mean to three digits, and its standard deviation with the same number of decimals."""
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
    """The number of images behind a mean, and the number of images without a finite value."""
    return f"{row.get('n', 0)}" + (f" + {row['n_nan']} NaN" if row.get("n_nan") else "")


def image_lines(images: Mapping[str, Any]) -> list[str]:
    """The number of images used, the keys that choose other images, and the classifier's accuracy on them. Empty for
    jobs of older versions."""
    if not images:
        return []
    n, available, split, sizes = images["n"], images["of"], images["split"], images.get("splits") or {}
    rest = {name: size for name, size in sizes.items() if name != split}
    others = ", ".join(f"{name} holds {size}" for name, size in rest.items())
    drawn, correct = (images.get("chosen") == word for word in ("drawn", "correct"))
    ways = [
        *(["more: n_images="] if n < available and not correct else []),
        f"others: dataset.split=, {others}" if others else "others: dataset.split=",
    ]
    right = f"{images['correct']} of {n} right, accuracy {images['correct'] / n:.2f}"
    chosen = " (images=correct takes no others)" if correct else ""
    total = available + sum(rest.values())
    how_many = f"{n} draws with replacement from {available}" if drawn else f"{n} of {total}"
    return [f"images:  {how_many}, split {split} ({'; '.join(ways)})", f"classifier on them: {right}{chosen}"]


def align_columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Aligns rows of text in columns, two spaces apart."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    padded = (
        [text.rjust(w) if k in right else text.ljust(w) for k, (text, w) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    )
    return ["  ".join(row).rstrip() for row in padded]
