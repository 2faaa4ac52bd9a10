"""Judges the claims of a paper on the numbers that the paper printed."""

from __future__ import annotations

from pomelo_lab.results.claim import Sample, Verdict, judge
from pomelo_lab.results.report import Claim, Report


def judge_printed(claim: Claim, table: Report) -> Verdict:
    """Judges a claim on the means that the paper printed."""

    def printed(row: str, metric: str) -> Sample | None:
        published_row = table.row(row)
        return (
            Sample({}, point=published_row.values[metric][0])
            if published_row is not None and metric in published_row.values
            else None
        )

    return judge(claim, table, printed)


def printed_verdict(claim: Claim, table: Report) -> str:
    """The verdict on the paper's printed means; "" when it printed none of them."""
    judged = judge_printed(claim, table).judged
    return "" if not judged else "agrees" if all(p.verdict == "holds" for p in judged) else "disagrees"


def describe_printed(claim: Claim, table: Report) -> str:
    """Describes the verdict on the printed means and its gaps: metrics without any printed number, and rows that are
    missing."""
    judged, word = judge_printed(claim, table), printed_verdict(claim, table)
    if not word:
        return "not printed"
    covered = {p.pair.metric for p in judged.judged}
    silent = dict.fromkeys(p.pair.metric for p in judged.pairs if p.pair.metric not in covered)
    symbols = [column.symbol if (column := table.column(metric)) else metric for metric in silent]
    if symbols:
        return f"{word}; nothing printed of {', '.join(symbols)}"
    return (
        word
        if len(judged.judged) == len(judged.pairs)
        else f"{word} ({len(judged.judged)} of {len(judged.pairs)} pairs)"
    )
