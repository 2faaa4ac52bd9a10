"""Both tables and the figures of the POMELO paper on the built-in faces: the commands of the README, one after another."""

from __future__ import annotations

import subprocess
import sys
import time

COMMANDS = (
    ("pomelo_lab.run", "-m", "experiment=pomelo_table1"),
    ("pomelo_lab.run", "-m", "experiment=pomelo_table2"),
)
FIGURES = ("pomelo_fig1", "pomelo_fig4", "pomelo_fig5", "pomelo_fig6", "pomelo_fig7", "pomelo_fig13")  # drawn from the same jobs


N_IMAGES = "n_images=32"  # of scale=quick; the bootstrap says where that is too few


def main(overrides: list[str]) -> int:
    """Run all; returns the first non-zero exit code."""
    start = time.monotonic()
    overrides = [N_IMAGES, *overrides]
    for module, *arguments in COMMANDS:
        say(f"python -m {module} {' '.join([*arguments, *overrides])}")
        if code := subprocess.run([sys.executable, "-m", module, *arguments, *overrides], check=False).returncode:
            return code
    for figure in FIGURES:
        say(f"python scripts/table.py {figure}")
        if code := subprocess.run([sys.executable, "scripts/table.py", figure, *overrides], check=False).returncode:
            return code
    say(f"done in {time.monotonic() - start:.0f} s")
    return 0


def say(text: str) -> None:
    print(f"\n$ {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
