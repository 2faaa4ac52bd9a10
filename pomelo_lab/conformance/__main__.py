"""Try one component: `python -m pomelo_lab.conformance --config-dir DIR sampler=mine [overrides]`.

It prints a line per rule and ends with exit status 1 where a rule is broken. Further overrides change the tiny job in
which the component is tried, and the component's own arguments.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

MARKS = {"pass": "[green]pass[/green]", "fail": "[bold red]FAIL[/bold red]", "skip": "[dim]skip[/dim]"}


def main(arguments: Sequence[str]) -> int:
    """Try the component that a command line names; the exit status."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from pomelo_lab.config.entry import config_folders
    from pomelo_lab.config.suggest import suggestions
    from pomelo_lab.conformance.tiny import JOBS, tried
    from pomelo_lab.conformance.trial import judge

    console = Console(width=80, highlight=False)
    folders, rest = config_folders(arguments)
    asked = next((text.split("=", 1) for text in rest if text.partition("=")[0] in JOBS), None)
    if asked is None or {"-h", "--help"} & set(rest):
        print(f"{__doc__}\nroles: {', '.join(JOBS)}")
        return 0 if asked else 2
    role, name = asked
    try:
        trial = tried(role, name, *(text for text in rest if text != f"{role}={name}"), folders=folders)
    except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
        print(*(suggestions(error, arguments) or [error]), sep="\n", file=sys.stderr)
        return 1
    table = Table.grid(padding=(0, 1))
    table.add_column(width=4)
    table.add_column(max_width=75)
    failed = 0
    for verdict in judge(importlib.import_module(f"pomelo_lab.conformance.{role}").RULES, trial):
        failed += verdict.state == "fail"
        why = f"\n[dim]{escape(verdict.why)}[/dim]" if verdict.why else ""
        table.add_row(MARKS[verdict.state], f"{escape(verdict.rule)}{why}")
    kind = type(trial.component)
    console.print(f"[bold]{role}={name}[/bold]: {kind.__module__}.{kind.__name__}")
    console.print(table)
    broken = "1 rule is broken" if failed == 1 else f"{failed} rules are broken"
    console.print(f"[bold red]{broken}[/bold red]" if failed else "[green]all rules are kept[/green]")
    return int(failed > 0)


if __name__ == "__main__":
    # modules of the current folder can be imported, as by the other commands
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))
    sys.exit(main(sys.argv[1:]))
