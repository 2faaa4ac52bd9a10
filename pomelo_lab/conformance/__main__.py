"""Try one component: `python -m pomelo_lab.conformance --config-dir DIR sampler=mine [overrides]`.

It prints a line per rule as soon as the rule was tried. Further overrides change the tiny job in which the component is
tried, and the component's own arguments.

Exit status: 0 = all rules are kept, 1 = a rule is broken, 2 = the component cannot be tried.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from pomelo_lab.conformance.trial import Trial, Verdict

MARKS = {"pass": "[green]pass[/green]", "fail": "[bold red]FAIL[/bold red]", "skip": "[dim]skip[/dim]"}


def main(arguments: Sequence[str]) -> int:
    """Try the component that a command line names; the exit status."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from rich.console import Console

    from pomelo_lab.config.entry import config_folders
    from pomelo_lab.config.suggest import suggestions
    from pomelo_lab.conformance.tiny import JOBS, tried

    folders, rest = config_folders(arguments)
    asked = next((text.split("=", 1) for text in rest if text.partition("=")[0] in JOBS), None)
    if asked is None or {"-h", "--help"} & set(rest):
        print(f"{__doc__}\nroles: {', '.join(JOBS)}")
        return 0 if {"-h", "--help"} & set(rest) else 2
    role, name = asked
    console = Console(width=80, highlight=False)
    try:
        with console.status(f"building {role}={name}"):
            trial = tried(role, name, *(text for text in rest if text != f"{role}={name}"), folders=folders)
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        print(*(suggestions(error, arguments) or [error]), sep="\n", file=sys.stderr)
        return 2
    kind = type(trial.component)
    console.print(f"[bold]{role}={name}[/bold]: {kind.__module__}.{kind.__name__}")
    return try_rules(role, trial, console)


def try_rules(role: str, trial: Trial, console: Console) -> int:
    """Print a line per rule and the sum of them; the exit status."""
    from pomelo_lab.conformance.trial import judged, title

    states: Counter[str] = Counter()
    for rule in importlib.import_module(f"pomelo_lab.conformance.{role}").RULES:
        with console.status(title(rule)):  # shown in a terminal while the rule is tried
            verdict = judged(rule, trial)
        states[verdict.state] += 1
        print_verdict(verdict, console)
    broken = f"{states['fail']} of {states.total()} rules {'is' if states['fail'] == 1 else 'are'} broken"
    ending = f"[bold red]{broken}[/bold red]" if states["fail"] else "[green]all rules are kept[/green]"
    console.print(ending + (f", {states['skip']} skipped" if states["skip"] else ""))
    return int(states["fail"] > 0)


def print_verdict(verdict: Verdict, console: Console) -> None:
    """Print one rule, and why it is broken or does not apply."""
    from rich.markup import escape
    from rich.table import Table

    row = Table.grid(padding=(0, 1))
    row.add_column(width=4)
    row.add_column(max_width=75)
    style = "red" if verdict.state == "fail" else "dim"
    why = f"\n[{style}]{escape(verdict.why)}[/{style}]" if verdict.why else ""
    row.add_row(MARKS[verdict.state], f"{escape(verdict.rule)}{why}")
    console.print(row)


if __name__ == "__main__":
    # modules of the current folder can be imported, as by the other commands
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    sys.exit(main(sys.argv[1:]))
