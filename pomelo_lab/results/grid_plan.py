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

    from pomelo_lab.plan import CAPTION, HEADS, readable
    from pomelo_lab.results.grid import reason
    from pomelo_lab.timing import told

    table = Table(title="plan of the grid", title_justify="left")
    table.add_column("job")
    for head in HEADS:
        table.add_column(head, justify="right")
    table.add_column("")
    sums: dict[str, Any] = dict.fromkeys(("images", *COUNTS, "seconds"), 0)

    def row(name: str, counts: dict[str, Any], note: str = "") -> None:
        numbers = (f"{counts[k]:,}" for k in ("images", "evaluations", "queries"))
        table.add_row(name, *numbers, readable(counts["bytes"]), told(counts["seconds"]), note)

    for cell in cells:
        if cell.lacks or cell.error:
            table.add_row(cell.name, "", "", "", "", "", f"not run: {cell.lacks or reason(cell.error)}")
            continue
        counts, missing = counted(cell)
        row(cell.name or "the job", counts, f"trains {', '.join(missing)}" if missing else "")
        sums = {k: None if counts[k] is None or sums[k] is None else sums[k] + counts[k] for k in sums}
    table.add_section()
    row(f"{len(cells)} jobs", sums, "at most: what jobs share is computed once")
    table.caption, table.caption_justify = CAPTION, "left"
    (console or Console(width=120)).print(table)


def counted(cell: Cell) -> tuple[dict[str, Any], list[str]]:
    """The counts and the time of one job, and the networks that it would train."""
    from pomelo_lab.plan import planned, total
    from pomelo_lab.results.store import Store

    job, plan, missing = planned(cell.config, Store(cell.config["paths"]["outputs"]))
    return {"images": job.n_asked} | {k: total(plan, k) for k in (*COUNTS, "seconds")}, missing
