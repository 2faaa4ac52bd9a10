"""Both tables and the figures of the POMELO paper on the built-in faces: the commands of the README, one after
another."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whichever one is installed

from pomelo_lab.results.show import show

SCALE, N_JOBS = "scale=demo", 2
GRIDS = ("pomelo_table1", "pomelo_table2", "pomelo_fig1")
FIGURES = ("pomelo_fig4", "pomelo_fig5", "pomelo_fig6", "pomelo_fig7", "pomelo_fig13")  # drawn from the same jobs


def main(overrides: list[str]) -> int:
    """Run all; returns the first non-zero exit code, 2 for options that do not exist."""
    if any(o.startswith("-") for o in overrides):
        print("usage: python scripts/demo.py [overrides, e.g. paths.outputs=DIR]", file=sys.stderr)
        return 2
    start, environment = time.monotonic(), dict(os.environ)
    side_by_side = side_by_side_here()
    if side_by_side:  # the processes of two jobs share the cores
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // N_JOBS)))
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment["PYTHONPATH"] = search
    overrides = [SCALE, *overrides]
    for preset in GRIDS:
        arguments = ["-m", "pomelo_lab.run", "-m", f"experiment={preset}", *overrides, *side_by_side]
        say(f"python {' '.join(arguments)}")
        if code := subprocess.run([sys.executable, *arguments], check=False, env=environment).returncode:
            return code
    for preset in FIGURES:
        say(f"python scripts/table.py {preset} {' '.join(overrides)}")
        if show(preset, overrides) is None:
            return 1
    say(f"done in {time.monotonic() - start:.0f} s; tables and figures: outputs/tables, outputs/figures")
    return 0


def side_by_side_here() -> list[str]:
    """The overrides that run two jobs at once: on a CPU, where the launcher is installed.

    Small networks use two processes of one thread better than one process of two.
    """
    import torch

    if torch.accelerator.is_available() or find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        return []
    return ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={N_JOBS}"]


def say(text: str) -> None:
    """A line as a shell shows it."""
    print(f"\n$ {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
