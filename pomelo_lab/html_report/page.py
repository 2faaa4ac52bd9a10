"""The HTML of a page. All texts are escaped, because names of classes, images and folders are user data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from pomelo_lab import __version__
from pomelo_lab.html_report.content import COSTS, interval, row_values
from pomelo_lab.html_report.distributions import draw_distribution
from pomelo_lab.html_report.jobs import Shown
from pomelo_lab.results.claim import MIN_IMAGES
from pomelo_lab.results.render import (
    ARROW,
    CHECK,
    SUPPORT,
    describe_jobs,
    describe_numbers,
    format_printed,
    images,
    number,
    title,
)
from pomelo_lab.results.report import Column, Row
from pomelo_lab.results.table import Table

PER_PAGE = 24  # images of the gallery at a time


def page_html(table: Table, shown: Sequence[Shown], jobs: Sequence[Mapping[str, Any]], folder: str) -> str:
    """The whole page: page.html with its styles, its script, the tables, and the values of the jobs as JSON.

    Args: shown, jobs: the finished jobs, and their values. folder: the name of the folder of pictures beside the page.
    """
    directions = {name: row.get("direction") for s in shown for name, row in s.cell.summary.items()}
    data = {"per_page": PER_PAGE, "folder": quote(folder), "metrics": directions, "costs": COSTS, "jobs": list(jobs)}
    fields = {
        "TITLE": escape(title(table)),
        "STYLE": asset("page.css"),
        "TABLE": "".join(table_html(table)),
        "NOTES": items([*table.notes(), *filter(None, (job["problem"] for job in jobs))]),
        "CLAIMS": "".join(claims_html(table)),
        "DISTRIBUTIONS": "".join(distributions_html(table)),
        "COSTS": "".join(costs_html(jobs)),
        "JOBS": "".join(job_html(job) for job in shown),
        "FOOT": escape(f"{describe_jobs(table)}. Written by pomelo_lab {__version__}."),
        "DATA": script_json(data),
        "SCRIPT": asset("page.js"),
    }
    pieces = asset("page.html").split("@@")  # text, field, text, field, ..., text
    return "".join(fields[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def asset(name: str) -> str:
    """A file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element: no text of it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def items(texts: Sequence[str]) -> str:
    """A list of texts; "" for none."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def table_html(table: Table) -> Iterator[str]:
    """The table. Each heading sorts by its column; the first click puts the best first."""
    heads = [(table.report.head, "text", ""), ("images", "higher", "")]
    heads += [
        (f"{c.symbol} {ARROW[table.directions[c.metric]]}".strip(), table.directions[c.metric] or "none", c.metric)
        for c in table.columns
    ]
    yield '<div class="wide"><table id="table"><thead><tr>'
    for text, better, metric in heads:
        tip = f' title="{escape(metric)}"' if metric else ""
        yield f'<th scope="col"{tip}><button type="button" data-better="{better}">{escape(text)}</button></th>'
    yield "</tr></thead><tbody>"
    for row in table.rows:
        label = " ".join(filter(None, [row.label, table.symbols(row)]))
        n = images(table, row)
        yield f'<tr><th scope="row">{escape(label)}</th><td data-value="{n or ""}">{n or ""}</td>'
        yield from (entry_html(table, row, column) for column in table.columns)
        yield "</tr>"
    yield "</tbody></table></div>"
    if table.columns:
        paper = " In gray: the paper's number." if any(e.printed for e in table.entries.values()) else ""
        yield (
            f"<p>{escape(describe_numbers(table).capitalize())}, n where it differs from the row's. In square "
            f"brackets: the 95 % interval of the mean over resampled images, from {MIN_IMAGES} images on. "
            f"Bold: best of the methods, {escape(SUPPORT)}.{escape(paper)}</p>"
        )


def entry_html(table: Table, row: Row, column: Column) -> str:
    """An entry: the mean and its spread, the interval, and the paper's number."""
    entry = table.entry(row, column)
    text = number(entry, column, images(table, row), compact=True)
    wide = entry.spread(table.report.spread)
    ours = f"<strong>{escape(text)}</strong>" if entry.best else escape(text)
    if entry.state != "done":
        ours = f'<span class="pale">{escape(text)}</span>'
    elif wide is not None:
        ours += f" ± {wide:.{column.digits}f}"
    if limits := interval(table, row, column) if entry.state == "done" else None:
        ours += f"<small>[{limits[0]:.{column.digits}f}, {limits[1]:.{column.digits}f}]</small>"
    if entry.printed:
        ours += f'<small class="pale">{escape(format_printed(entry, column))}</small>'
    value = "" if entry.mean is None else repr(abs(entry.mean) if column.magnitude else entry.mean)
    return f'<td data-value="{value}">{ours}</td>'


def claims_html(table: Table) -> Iterator[str]:
    """The claims of the paper with their verdicts. Nothing for a table without claims."""
    if not table.verdicts:
        return
    yield '<section id="claims"><h2>Claims of the paper</h2><div class="wide"><table><thead><tr>'
    for head in ("verdict", "section", "claim, and what decided", "its own table"):
        yield f'<th scope="col">{head}</th>'
    yield "</tr></thead><tbody>"
    for verdict, theirs in zip(table.verdicts, table.own, strict=True):
        symbol, colour = CHECK[verdict.verdict]
        yield f'<tr><td class="{escape(colour)}">{escape(f"{symbol} {verdict.word}")}</td>'
        yield f"<td>{escape(verdict.claim.section)}</td><td class=text>{escape(verdict.claim.says)}"
        yield f'<small class="pale">{escape(verdict.summary)}</small></td><td>{escape(theirs)}</td></tr>'
    yield "</tbody></table></div></section>"


def distributions_html(table: Table) -> Iterator[str]:
    """A picture for each column with scores of single images."""
    for column in table.columns:
        rows = {row.label: row_values(table, row, column) for row in table.rows}
        if rows := {label: values for label, values in rows.items() if values}:
            name = f"{column.symbol} {ARROW[table.directions[column.metric]]}".strip()
            picture = draw_distribution(name, rows)
            yield f"<figure><figcaption>{escape(name)}</figcaption>{picture}</figure>"


def costs_html(jobs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The costs of the jobs as a table."""
    yield '<div class="wide"><table><thead><tr><th scope="col">job</th>'
    yield from (f'<th scope="col">{escape(text)}</th>' for text in COSTS.values())
    yield "</tr></thead><tbody>"
    for job in jobs:
        yield f'<tr><th scope="row">{escape(job["name"])}</th>'
        yield from (f"<td>{job['cost'][cost]:.4g}</td>" if job["cost"] else "<td>–</td>" for cost in COSTS)
        yield "</tr>"
    yield "</tbody></table></div>"


def job_html(shown: Shown) -> str:
    """The config, versions and device of a job, folded."""
    status = shown.cell.status
    facts = [
        f"folder: {shown.folder}",
        f"fingerprint: {shown.folder.name}",
        f"device: {status.get('device', 'unknown')}, {status.get('seconds', 0):.1f} s",
        *(f"{name} {version}" for name, version in (status.get("versions") or {}).items()),
    ]
    config = (shown.folder / "config.yaml").read_text()
    again = f"pomelo-lab export {shlex.quote(str(shown.folder))}"
    return (
        f"<details><summary>{escape(shown.name)}</summary>{items(facts)}"
        f"<p>Its maps as files: <code>{escape(again)}</code></p>"
        f'<pre tabindex="0">{escape(config)}</pre></details>'
    )
