"""Writes the documentation's page of a table from stored scores: numbers, verdicts and figure, with their origin."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pomelo_lab.files import write_text
from pomelo_lab.results.claim import Verdict
from pomelo_lab.results.render import ARROW, SUPPORT, describe_jobs, describe_numbers, format_printed, images, number
from pomelo_lab.results.report import Column, Row
from pomelo_lab.results.table import Table

ORIGIN = re.compile(  # as `origin` writes it
    r"Measured at `scale=(\w+)`, ([\d,]+) images, ([\d,]+) jobs of ([\d,]+) s in all, (.*?), commit (?P<commit>[\w-]+)"
)
WIDTH, LONGEST = 120, 200  # columns of prose; characters of a line of a table


def write_page(table: Table, figure: Path | None, folder: Path) -> Path:
    """Writes `<id>.md` and, where the table has a figure, `<id>.png`. Returns the path of the page."""
    page = folder / f"{table.report.id}.md"
    folder.mkdir(parents=True, exist_ok=True)
    if figure is not None:
        shutil.copyfile(figure.with_suffix(".png"), page.with_suffix(".png"))
    write_text(page, "\n".join(lines(table, figure is not None)) + "\n")
    return page


def lines(table: Table, has_figure: bool) -> Iterator[str]:
    """The lines of the page."""
    yield f"# {table.report.title}"
    yield from ("", fold(f"{table.report.source}. {origin(table)}"), "")
    typed = replace(table, overrides=tuple(text for text in table.overrides if not text.startswith("paths.")))
    yield from ("```", *fold(typed.command, " \\\n    ").split("\n"), "```", "")
    if has_figure:
        yield from (f"![{table.report.title}]({table.report.id}.png)", "")
    for columns in blocks(table):
        yield from (*grid(table, columns), "")
    if table.columns:
        paper = " In brackets: the paper's number." if any(e.printed for e in table.entries.values()) else ""
        yield fold(
            f"{describe_numbers(table).capitalize()}, n where it differs from the row's.{paper} Bold: best of the "
            f"methods, {SUPPORT}."
        )
        yield ""
    yield from (fold(f"- {note}") for note in table.notes())
    if table.verdicts:
        yield from ("", "## Claims", "", "[How verdicts are reached](../claims.md#verdicts).", "")
        for verdict, theirs in zip(table.verdicts, table.own, strict=True):
            yield fold(f"- {describe_claim(verdict, theirs)}")
    yield from ("", describe_jobs(table).capitalize() + ".")


def write_index(folder: Path) -> Path:
    """Writes `index.md`: every page of a folder with the origin of its numbers, and whether the code has changed since.

    Origins are read from the pages, because their jobs may lie on another machine.
    """
    rows = []
    for page in sorted(set(folder.glob("*.md")) - {folder / "index.md"}):
        text = page.read_text()
        if told := ORIGIN.search(" ".join(text.split())):
            title = text.partition("\n")[0].removeprefix("# ")
            rows.append(f"| [{title}]({page.name}) | {' | '.join(told.groups())} | {changes_since(told['commit'])} |")
    head = ("table", "scale", "images", "jobs", "seconds", "measured", "commit", "code since")
    lines = ["# Results", "", "`python scripts/table.py --docs` wrote these pages from stored scores.", ""]
    lines += [f"| {' | '.join(head)} |", "| --- | --- | --: | --: | --: | --- | --- | --- |", *rows]
    write_text(folder / "index.md", "\n".join([*lines, ""]))
    return folder / "index.md"


def changes_since(commit: str) -> str:
    """How many commits have changed the package or its configs since a commit, in words."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "rev-list", "--count", f"{commit}..HEAD", "--", "pomelo_lab", "conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if (root / ".git").exists() else None
    if done is None or done.returncode:
        return "unknown"
    return f"{n} commits" if (n := int(done.stdout)) else "unchanged"


def describe_claim(verdict: Verdict, theirs: str) -> str:
    """One claim: its verdict, what it says, what decided, whether the paper's own numbers agree, and its note.

    Args: theirs: the verdict on the paper's own numbers.
    """
    claim = verdict.claim
    says, section = claim.says[:1].upper() + claim.says[1:], claim.section
    where = f"section {section}" if section[:1].isdigit() else section
    told = f"**{verdict.word}** ({where}): {says}. Decided by `{verdict.summary}`. The paper's own table: {theirs}."
    return " ".join(filter(None, [told, claim.note]))


def origin(table: Table) -> str:
    """Says what the numbers come from: scale, images, seconds, versions and dates of the finished jobs."""
    cells = {cell.folder: cell for row_cells in table.finished.values() for cell in row_cells}.values()
    n = max((images(table, row) for row in table.rows), default=0)
    seconds = sum(cell.status.get("seconds", 0.0) for cell in cells)
    commits = sorted({str(cell.status.get("versions", {}).get("commit", "unknown")) for cell in cells})
    days = sorted({time.strftime("%Y-%m-%d", time.gmtime(cell.status.get("started", 0))) for cell in cells})
    span = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""
    return (
        f"Measured at `scale={table.scale}`, {n} images, {len(cells)} jobs of {seconds:,.0f} s in all, "
        f"{span}, commit {', '.join(commits)}."
    )


def blocks(table: Table) -> Iterator[Sequence[Column]]:
    """Splits the columns into blocks whose lines are short enough, with at least one column in each."""
    start = 0
    while start < len(table.columns):
        stop = len(table.columns)
        while stop > start + 1 and max(map(len, grid(table, table.columns[start:stop]))) > LONGEST:
            stop -= 1
        yield table.columns[start:stop]
        start = stop


def grid(table: Table, columns: Sequence[Column]) -> list[str]:
    """The lines of a Markdown table with some of the columns."""
    heads = [f"{c.symbol} {ARROW[table.directions[c.metric]]}".strip() for c in columns]
    return [
        f"| {table.report.head} | images | {' | '.join(heads)} |",
        "| --- | --: |" + " --: |" * len(columns),
        *(grid_row(table, row, columns) for row in table.rows),
    ]


def grid_row(table: Table, row: Row, columns: Sequence[Column]) -> str:
    """One line: the label, the number of images, and our numbers with the paper's in brackets."""
    texts = []
    for column in columns:
        entry = table.entry(row, column)
        text = number(entry, column, images(table, row), spread=table.report.spread)
        text = f"**{text}**" if entry.best else text
        texts.append(f"{text} [{format_printed(entry, column)}]" if entry.printed else text)
    label = " ".join(filter(None, [row.label, table.symbols(row)]))
    return f"| {label} | {images(table, row) or ''} | {' | '.join(texts)} |"


def fold(text: str, newline: str = "\n") -> str:
    """A paragraph, an item of a list or a command, cut to the width of a page."""
    if newline == "\n":
        indent = "  " if text.startswith("- ") else ""
        return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return newline.join(textwrap.wrap(text, WIDTH - 6, break_long_words=False, break_on_hyphens=False))
