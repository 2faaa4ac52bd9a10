"""Writes the files of a table: Markdown, CSV, LaTeX, and the verdicts on its claims as JSON."""

from __future__ import annotations

import csv
import io
import json
from itertools import groupby
from pathlib import Path
from typing import Any

from pomelo_lab.files import write_text
from pomelo_lab.results.marks import latex as latex_marks
from pomelo_lab.results.render import (
    ARROW,
    SUPPORT,
    describe_jobs,
    describe_numbers,
    format_printed,
    images,
    number,
    title,
)
from pomelo_lab.results.table import Table

LATEX_ARROW = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", None: ""}


def write(table: Table, folder: Path) -> None:
    """Writes table.md, table.csv, table.tex and claims.json."""
    write_text(folder / "table.md", markdown(table))
    write_text(folder / "table.csv", comma_separated(table))
    write_text(folder / "table.tex", latex(table))
    write_text(folder / "claims.json", json.dumps(claims_json(table), indent=1))


def markdown(table: Table) -> str:
    """The table in Markdown. The paper's number stands in brackets below ours."""
    out = [f"# {title(table)}", ""]
    if table.columns:
        heads = [f"{c.symbol} {ARROW[table.directions[c.metric]]}".strip() for c in table.columns]
        out += [
            "| " + " | ".join([table.report.head, "images", *heads]) + " |",
            "| --- | --: |" + " --: |" * len(heads),
        ]
        for r in table.rows:
            values = []
            for c in table.columns:
                e = table.entry(r, c)
                text = number(e, c, images(table, r), spread=table.report.spread)
                text = f"**{text}**" if e.best else text
                values.append(text + (f"<br>[{format_printed(e, c)}]" if e.printed else ""))
            out.append(
                "| "
                + " | ".join(
                    [" ".join(filter(None, [r.label, table.symbols(r)])), str(images(table, r) or ""), *values]
                )
                + " |"
            )
        paper = " in brackets the paper's;" if any(e.printed for e in table.entries.values()) else ""
        out += [
            "",
            f"{describe_numbers(table).capitalize()} (n where it differs from the row's);{paper} bold: best of the "
            f"methods, {SUPPORT}.",
        ]
    out += ["", *(f"- {note}" for note in table.notes())]
    if table.verdicts:
        out += [
            "",
            "| verdict | section | claim | decided by | the paper's own table |",
            "| --- | --- | --- | --- | --- |",
        ]
        for verdict, theirs in zip(table.verdicts, table.own, strict=True):
            out.append(
                f"| {verdict.word} | {verdict.claim.section} | {verdict.claim.says} | `{verdict.summary}` | {theirs} |"
            )
    return "\n".join([*out, "", describe_jobs(table), ""])


def comma_separated(table: Table) -> str:
    """The table in CSV, with one line per entry."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = (
        "row label metric direction state mean std n n_nan repeats std_repeats best published_mean published_std "
        "standard_error marks"
    )
    writer.writerow(heads.split())
    for r in table.rows:
        for c in table.columns:
            e = table.entry(r, c)
            ours = (e.mean, e.std, e.n or "", e.n_nan or "", e.repeats or "", e.std_repeats, "yes" if e.best else "")
            more = (
                *(e.printed or ("", "")),
                e.spread("standard_error"),
                ";".join(m.name for m in table.marks if r.key in m.rows),
            )
            writer.writerow([r.key, r.label, c.metric, table.directions[c.metric] or "", e.state, *ours, *more])
    return text.getvalue()


def latex(table: Table) -> str:
    r"""The table for LaTeX's booktabs. The document needs \usepackage{amsmath,booktabs,xcolor}."""

    def plus_minus(text: str) -> str:
        return "$" + text.replace("±", r"\pm") + "$" if any(ch.isdigit() for ch in text) else text.replace("–", "--")

    def bold(text: str) -> str:
        return rf"$\boldsymbol{{{text[1:-1]}}}$" if text.startswith("$") else rf"\textbf{{{text}}}"

    columns = table.columns
    out = [f"% {title(table)}", r"% \usepackage{amsmath,booktabs,xcolor}"]
    out += [r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule"]
    heads = [(c.latex or escape_latex(c.symbol)) + LATEX_ARROW[table.directions[c.metric]] for c in columns]
    out.append(" & ".join(["Method", *heads]) + r" \\")
    for _, rows in groupby(table.rows, key=lambda r: r.group):
        out.append(r"\midrule")
        for r in rows:
            shown = [table.entry(r, c) for c in columns]
            ours = [
                plus_minus(number(e, c, images(table, r), spread=table.report.spread))
                for e, c in zip(shown, columns, strict=True)
            ]
            ours = [bold(text) if e.best else text for e, text in zip(shown, ours, strict=True)]
            out.append(" & ".join([escape_latex(r.label) + latex_marks(table.symbols(r)), *ours]) + r" \\")
            if any(e.printed for e in shown):
                paper = [plus_minus(format_printed(e, c)) for e, c in zip(shown, columns, strict=True)]
                gray = [rf"\textcolor{{gray}}{{{text}}}" if text else "" for text in ["\\quad paper", *paper]]
                out.append(" & ".join(gray) + r" \\")
    notes = [f"{latex_marks(m.symbol)} {escape_latex(m.text + ': ' + ', '.join(m.rows.values()))}" for m in table.marks]
    feet = [rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\footnotesize {note}}} \\" for note in notes]
    return "\n".join([*out, r"\bottomrule", *feet, r"\end{tabular}", ""])


def escape_latex(text: str) -> str:
    """Escapes plain text for LaTeX."""
    signs = {"<": r"$<$", ">": r"$>$", "≥": r"$\ge$", "–": "--"}
    return "".join("\\" + ch if ch in "_%&#$" else signs.get(ch, ch) for ch in text)


def claims_json(table: Table) -> list[dict[str, Any]]:
    """Lists every claim with all its comparisons, for scripts."""
    out = []
    for verdict, theirs in zip(table.verdicts, table.own, strict=True):
        pairs = [
            {
                "pair": str(p.pair),
                "verdict": p.verdict,
                "support": p.support,
                "n": p.n,
                "dropped": p.n_dropped,
                "by": p.by,
                "point": p.point,
            }
            | {"left": p.left, "right": p.right}
            for p in verdict.pairs
        ]
        claim = verdict.claim
        head = {
            "says": claim.says,
            "section": claim.section,
            "test": list(claim.test),
            "verdict": verdict.word,
            "point": verdict.point,
        }
        out.append({**head, "published_numbers": theirs, "decided_by": verdict.summary, "pairs": pairs})
    return out
