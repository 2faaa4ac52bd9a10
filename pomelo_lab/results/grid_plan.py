"""The plan of a whole grid: a line for each of its jobs, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pomelo_lab.results.preset import Cell

COUNTS = ("evaluations", "queries", "bytes")


def print_grid_plan(cells: Sequence[Cell], console: Any = None) -> None:
    """Print what every job of a grid would do. What several of them share is computed once and counted in each: the sum is an upper limit."""
    from rich.console import Console
    from rich.table import Table

    from pomelo_lab.plan import readable
    from pomelo_lab.results.grid import reason

    table = Table(title="plan of the grid", title_justify="left")
    table.add_column("job")
    for head in ("images", "network evaluations", "classifier queries", "on disk"):
        table.add_column(head, justify="right")
    table.add_column("")
    sums = dict.fromkeys(("images", *COUNTS), 0)

    def row(name: str, counts: dict[str, int], note: str = "") -> None:
        table.add_row(name, *(f"{counts[k]:,}" for k in ("images", "evaluations", "queries")), readable(counts["bytes"]), note)

    for cell in cells:
        if cell.lacks or cell.error:
            table.add_row(cell.name, "", "", "", "", f"not run: {cell.lacks or reason(cell.error)}")
            continue
        counts, missing = planned(cell)
        row(cell.name or "the job", counts, f"trains {', '.join(missing)}" if missing else "")
        sums = {k: sums[k] + counts[k] for k in sums}
    table.add_section()
    row(f"{len(cells)} jobs", sums, "at most: what jobs share is computed once")
    (console or Console(width=120)).print(table)


def planned(cell: Cell) -> tuple[dict[str, int], list[str]]:
    """The counts of one job, and the networks that it would train."""
    from pomelo_lab.job import Job
    from pomelo_lab.plan import steps, untrained
    from pomelo_lab.results.store import Store

    missing: list[str] = []
    outputs = cell.config["paths"]["outputs"]
    job = Job(untrained(cell.config, cell.config["dataset"], outputs, missing), Store(outputs))
    plan = steps(job)
    counts = {"images": job.n_asked} | {k: sum(getattr(step, k) for step in plan) for k in COUNTS}
    return counts, list(dict.fromkeys(missing))
