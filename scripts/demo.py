"""Both tables and the figures of the POMELO paper on the built-in faces: the commands of the README, one after
another."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whichever one is installed

from pomelo_lab.results.show import show

SCALE = "scale=demo"
GRIDS = ("pomelo_table1", "pomelo_table2", "pomelo_fig1")
FIGURES = ("pomelo_fig4", "pomelo_fig5", "pomelo_fig6", "pomelo_fig7", "pomelo_fig13")  # drawn from the same jobs


def main(overrides: list[str]) -> int:
    """Run all; returns the first non-zero exit code, 2 for options that do not exist."""
    if any(o.startswith("-") for o in overrides):
        print("usage: python scripts/demo.py [overrides, e.g. paths.outputs=DIR]", file=sys.stderr)
        return 2
    start = time.monotonic()
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    overrides = [SCALE, *overrides]
    for preset in GRIDS:
        arguments = ["-m", "pomelo_lab.run", "-m", f"experiment={preset}", *overrides]
        say(f"python {' '.join(arguments)}")
        environment = {**os.environ, "PYTHONPATH": search}
        if code := subprocess.run([sys.executable, *arguments], check=False, env=environment).returncode:
            return code
    for preset in FIGURES:
        say(f"python scripts/table.py {preset} {' '.join(overrides)}")
        if show(preset, overrides) is None:
            return 1
    say(f"done in {time.monotonic() - start:.0f} s; tables and figures: outputs/tables, outputs/figures")
    return 0


def say(text: str) -> None:
    """A line as a shell shows it."""
    print(f"\n$ {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
