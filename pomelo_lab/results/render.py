"""Prints a table on the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from pomelo_lab.config.entry import script_command
from pomelo_lab.results.claim import FAILS, FEW, HOLDS, LEVEL, MISSING, RESAMPLES
from pomelo_lab.results.grid import questions
from pomelo_lab.results.report import Column, Row
from pomelo_lab.results.table import Entry, Table

SUPPORT = f"where at least {LEVEL:.0%} of the resamples of the images agree"
TABLE_COMMAND = script_command("table")
MOST_OTHERS = 5  # other settings that are named
ARROW = {"higher": "↑", "lower": "↓", None: ""}
CHECK = {HOLDS: ("✓", "green"), FAILS: ("✗", "red"), FEW: ("?", "yellow"), MISSING: ("·", "bright_black")}
STATE = {
    "missing": "missing",
    "not built": "–",
    "not scored": "–",
    "undefined": "undefined",
    "failed": "failed",
    "damaged": "damaged",
}
STATE |= {"not applicable": "n/a", "skipped": "–", "not asked": "–", "running": "running", "interrupted": "interrupted"}


def number(entry: Entry, column: Column, images: int = 0, compact: bool = False, spread: str = "std") -> str:
    """Formats our number: the mean, its spread unless compact, and n where it differs from that of the row.

    Args:
        images: n of the row.
        spread: the kind of spread that the paper printed.
    """
    if entry.state != "done":
        return STATE[entry.state]
    wide = entry.spread(spread)
    text = f"{entry.mean:.{column.digits}f}" + (
        f" ± {wide:.{column.digits}f}" if wide is not None and not compact else ""
    )
    if entry.interval and not compact:
        text += f" [{entry.interval[0]:.{column.digits}f}, {entry.interval[1]:.{column.digits}f}]"
    return text + (f" ({entry.n})" if entry.n and entry.n != images else "")


def format_printed(entry: Entry, column: Column, compact: bool = False) -> str:
    """Formats the paper's number with the decimals that it was printed with."""
    if entry.printed is None:
        return ""
    mean, std = entry.printed
    text = f"{mean:.{max(column.digits, decimals(mean))}f}"
    return text + (f" ± {std:.{max(2, decimals(std))}f}" if std is not None and not compact else "")


def decimals(value: float) -> int:
    """The number of decimals of a printed number."""
    return len(repr(value).partition(".")[2])


def images(table: Table, row: Row) -> int:
    """The largest number of images behind an entry of a row."""
    return max((table.entry(row, c).n for c in table.columns), default=0)


def title(table: Table) -> str:
    head = [": ".join(filter(None, [table.report.id, table.report.title])), table.report.source, f"scale={table.scale}"]
    return " · ".join([*filter(None, head), *questions(table.overrides)])


def describe_numbers(table: Table, compact: bool = False) -> str:
    """Explains our numbers: what the means are taken over, and which spread follows ±."""
    kind = "standard error of the mean" if table.report.spread == "standard_error" else "std"
    if table.report.spread == "seeds" and (seeds := {e.repeats for e in table.entries.values() if e.repeats > 1}):
        over = f"over {' or '.join(map(str, sorted(seeds)))} seeds"
        return (
            f"mean over images and seeds, ± std {over} in the files"
            if compact
            else f"mean over images and seeds ± std {over}"
        )
    return f"mean over images, ± {kind} in the files" if compact else f"mean ± {kind} over images"


def describe_jobs(table: Table) -> str:
    """Counts jobs by state, as in "7 of 9 jobs done, 1 failed, 1 missing", and gives the command that continues."""
    rest = {k: v for k, v in table.states.items() if k not in ("done", "skipped")}
    total = sum(v for k, v in table.states.items() if k != "skipped")
    text = f"{table.states.get('done', 0)} of {total} jobs done" + "".join(
        f", {v} {k}" for k, v in sorted(rest.items())
    )
    return text + (f"; continue: {table.command}" if rest else "")


def terminal(table: Table, console: Any) -> None:
    """Prints a table: our numbers above the paper's in gray, then notes and verdicts."""
    from rich.text import Text

    console.print()
    console.print(Text(title(table), style="bold"), soft_wrap=True)
    if table.columns:
        compact = too_wide(terminal_grid(table, table.columns), console)
        for columns in blocks(table, console) if compact else [table.columns]:
            console.print(terminal_grid(table, columns, compact))
        best = f" bold: best of the methods, {SUPPORT};" if any(e.best for e in table.entries.values()) else ""
        paper = " second line: the paper's" if any(e.printed for e in table.entries.values()) else ""
        ours = f"{'ours: ' if paper else ''}{describe_numbers(table, compact)} (n where it differs from the row's)"
        legend = f"{ours};{best}{paper}".rstrip(";")
        console.print(Text(legend, style="bright_black"))
        if keys := ", ".join(f"{c.symbol} = {c.metric}" for c in table.columns if c.symbol != c.metric):
            console.print(Text(f"columns by their keys in scores and configs: {keys}", style="bright_black"))
    for note in table.notes():
        console.print(Text(f"  {note}", style="bright_black"))
    if table.verdicts:
        claims(table, console)
    console.print(
        describe_jobs(table), highlight=False, markup=False, soft_wrap=True, style="" if table.complete else "yellow"
    )


def too_wide(grid: Any, console: Any) -> bool:
    """Whether the terminal is too narrow for a grid."""
    return console.measure(grid, options=console.options.update(max_width=1000)).maximum > console.width


def blocks(table: Table, console: Any) -> Iterator[Sequence[Column]]:
    """Splits the columns into blocks that fit the terminal, with at least one column in each."""
    start = 0
    while start < len(table.columns):
        stop = len(table.columns)
        while stop > start + 1 and too_wide(terminal_grid(table, table.columns[start:stop], compact=True), console):
            stop -= 1
        yield table.columns[start:stop]
        start = stop


def terminal_grid(table: Table, columns: Sequence[Column], compact: bool = False) -> Any:
    """A grid of some columns for the terminal. Compact grids omit the standard deviations."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, collapse_padding=True)
    grid.add_column(f"\n{table.report.head}", no_wrap=True)
    grid.add_column("\nimages", justify="right", style="bright_black", no_wrap=True)
    last = None
    for c in columns:
        head = c.group if c.group != last else ""
        last = c.group
        name = f"{c.symbol} {ARROW[table.directions[c.metric]]}".rstrip()
        grid.add_column(Text.assemble((f"{head}\n", "bright_black"), name), justify="right", no_wrap=True)
    for _, rows in groupby(table.rows, key=lambda r: r.group):
        for r in rows:
            grid.add_row(*terminal_row(table, r, columns, compact))
        grid.add_section()
    return grid


def terminal_row(table: Table, row: Row, columns: Sequence[Column], compact: bool) -> list[Any]:
    """The cells of a row: label, number of images, then our number above the paper's."""
    from rich.text import Text

    shown = [table.entry(row, c) for c in columns]
    paper = any(e.printed for e in shown)
    empty = all(e.state in ("missing", "not built", "skipped", "not asked") for e in shown)
    values = []
    for entry, column in zip(shown, columns, strict=True):
        plain = (
            "red"
            if entry.state in ("failed", "damaged", "undefined", "interrupted")
            else ""
            if entry.state == "done"
            else "bright_black"
        )
        text = Text(
            number(entry, column, images(table, row), compact, table.report.spread),
            style="bold green" if entry.best else plain,
        )
        values.append(
            text.append("\n" + format_printed(entry, column, compact), style="not bold bright_black") if paper else text
        )
    label = Text(row.label, style="bright_black" if empty else "")
    label = label.append(f" {marks}", style="yellow") if (marks := table.symbols(row)) else label
    label = label.append("\n  paper", style="bright_black") if paper else label
    return [label, str(images(table, row) or ""), *values]


def claims(table: Table, console: Any) -> None:
    """Prints one line per claim: the verdict, the claim, the deciding evidence, and whether the paper's printed
    numbers agree."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, collapse_padding=True)
    grid.add_column("verdict", no_wrap=True)
    grid.add_column("§", no_wrap=True)
    grid.add_column("claim of the paper, and what decided")
    grid.add_column("its own table", max_width=24)
    for verdict, theirs in zip(table.verdicts, table.own, strict=True):
        symbol, style = CHECK[verdict.verdict]
        text = Text(verdict.claim.says)
        text.append("\n" + verdict.summary, style="bright_black")
        own_text = Text(theirs, style="red" if theirs.startswith("disagrees") else "bright_black")
        head = Text(f"{symbol} {verdict.word}", style=style)
        grid.add_row(head, Text(verdict.claim.section, style="bright_black"), text, own_text)
    console.print()
    console.print(grid)
    console.print(
        f"[bright_black]holds: at least {LEVEL:.0%} of {RESAMPLES:,} paired resamples of the images agree, for every "
        f"pair; "
        "fails: at most 5 % agree, for some pair; (point): two numbers compared, nothing resampled; "
        "(repeats): repeats of the statistic resampled, not images[/]",
        highlight=False,
    )


def print_other_settings(table: Table, others: Sequence[tuple[Sequence[str], int]], console: Any) -> None:
    """Prints with which other settings jobs of the table are finished when none is, and the command that runs them."""
    head = f"{table.report.id}: nothing done at scale={table.scale} ({describe_jobs(table).partition(';')[0]})"
    console.print(head, highlight=False, markup=False, soft_wrap=True)
    for changes, done in others[:MOST_OTHERS]:
        typed = {text.partition("=")[0]: text for text in (*table.overrides, *changes)}
        shown = " ".join([TABLE_COMMAND, table.report.id, *map(shlex.quote, typed.values())])
        text = f"  {done} done with {' '.join(changes)}: {shown}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(f"  compute it: {table.command}", highlight=False, markup=False, soft_wrap=True)
