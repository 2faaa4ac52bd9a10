"""Both tables and the figures of the POMELO paper on the drawn faces: the commands of the README, one after another."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.config.entry import script_command

SCALE = "scale=demo"
GRIDS = ("pomelo_table1", "pomelo_table2", "pomelo_fig1")
FIGURES = ("pomelo_fig4", "pomelo_fig5", "pomelo_fig6", "pomelo_fig7", "pomelo_fig13")  # drawn from the same jobs


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all. Returns the first exit status other than 0, and 2 for options that do not exist."""
    overrides = list(sys.argv[1:] if arguments is None else arguments)
    if any(text.startswith("-") for text in overrides):
        print(f"usage: {script_command('demo')} [overrides, e.g. paths.outputs=DIR]", file=sys.stderr)
        return 0 if {"-h", "--help"} & set(overrides) else 2
    from pomelo_lab.results.show import show

    start, overrides = time.monotonic(), [SCALE, *overrides]
    package = str(Path(__file__).resolve().parents[1])  # this one, whichever one is installed
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))}
    for preset in GRIDS:
        typed = ["-m", "pomelo_lab.run", "-m", f"experiment={preset}", *overrides]
        say(f"python {' '.join(typed)}")
        if code := subprocess.run([sys.executable, *typed], check=False, env=environment).returncode:
            return code
    for preset in FIGURES:
        say(f"{script_command('table')} {preset} {' '.join(overrides)}")
        if show(preset, overrides) is None:
            return 1
    say(f"done in {time.monotonic() - start:.0f} s; tables and figures: outputs/tables, outputs/figures")
    return 0


def say(text: str) -> None:
    """A line as a shell shows it."""
    print(f"\n$ {text}", flush=True)
