"""Prints plans: the stages of one job, or one line for each job of a grid, and their sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pomelo_lab.cost import format_duration
from pomelo_lab.engine.plan import Step, plan_job, sum_steps
from pomelo_lab.engine.store import Store
from pomelo_lab.results.grid import GridCell

HEADS = ("images", "network\nevaluations", "classifier\nqueries", "on disk", "time")
CAPTION = (
    "on disk: images, maps, answers; no scores, keep masks, statistics, file heads",
    "time: the networks' forwards and backwards, as measured here; nothing else",
)
UNKNOWN = "?: not measured: trainings, functions of yours, runtime=compiled, absent devices"


def print_plan(config: Mapping[str, Any], store: Store) -> None:
    """Prints the plan of one job as a table."""
    job, plan, missing = plan_job(config, store)
    choices = config.get("choices") or {}
    title = " ".join(
        f"{role}={choices[role]}"
        for role in ("dataset", "classifier", "sampler", "explainer", "scale")
        if role in choices
    )
    trainings = [Step(f"train {name}", 0, note="no weights yet", seconds=None) for name in missing]
    whole = sum_steps(plan, "total", job.selection.n_asked, "without trainings" if missing else "")
    print_steps(f"plan: {title}", "stage", [*trainings, *plan, whole])


def print_grid_plan(cells: Sequence[GridCell], console: Any = None) -> None:
    """Prints the plan of every job of a grid.

    A part that several jobs share is counted in each of them, so the sum is an upper bound.
    """
    from pomelo_lab.results.grid import reason

    def line(cell: GridCell) -> Step:
        name = cell.name or "the job"
        if refused := cell.lacks or cell.error:
            return Step(name, 0, note=f"not run: {reason(refused)}")
        try:
            return line_of(name, cell.config)
        except (ValueError, OSError) as error:  # the reason why the job would be refused before its first image
            return Step(name, 0, note=f"not run: {reason(f'{error}')}")

    lines = [line(cell) for cell in cells]
    note = "without trainings; what jobs share is computed once"
    whole = sum_steps(lines, f"{len(cells)} jobs", sum(step.images for step in lines), note, True)
    print_steps("plan of the grid", "job", [*lines, whole], console)


def line_of(name: str, config: Mapping[str, Any]) -> Step:
    """Sums the plan of a job into one line."""
    job, plan, missing = plan_job(config, Store(config["paths"]["outputs"]))
    return sum_steps(plan, name, job.selection.n_asked, f"trains {', '.join(missing)}" if missing else "")


def print_steps(title: str, head: str, plan: Sequence[Step], console: Any = None) -> None:
    """Prints a table that fits the terminal: names are wrapped, numbers are not.

    The last step is the sum. Each note is printed once, below the table.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column(head, overflow="fold")
    for name in HEADS:
        table.add_column(name, justify="right", no_wrap=True)
    notes: dict[str, list[str]] = {}
    for step in plan:
        name, upper = step.name.removeprefix("metric "), "up to " if step.at_most else ""
        counts = (f"{upper}{n:,}" if n else "" for n in (step.evaluations, step.queries))
        if step is plan[-1]:
            table.add_section()
        table.add_row(
            name,
            f"{step.images:,}" if step.images else "",
            *counts,
            readable(step.bytes) if step.bytes else "",
            format_time(step),
        )
        if step.note:
            notes.setdefault(step.note, []).append(name)
    screen = console or Console()
    screen.print(table)
    below = [f"{join_names(names)}: {text}" for text, names in notes.items()]
    for text in (*below, *CAPTION, *([UNKNOWN] if any(step.seconds is None for step in plan) else [])):
        screen.print(text, highlight=False, markup=False)


def format_time(step: Step) -> str:
    """The time of a step as text: "3 s", "up to 12 min", "5.1 h"; "?" when it is unknown, "" when no network is
    evaluated."""
    if step.seconds is None:
        return "?"
    if not step.seconds:
        return ""
    return f"{'up to ' if step.at_most else ''}{format_duration(step.seconds)}" if step.seconds >= 1 else "< 1 s"


def join_names(names: Sequence[str], most: int = 3) -> str:
    """Joins names. Of many names the first three are listed and the rest is counted."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def readable(size: float) -> str:
    """A size in bytes with its unit, such as 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
