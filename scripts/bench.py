"""Ratios against other packages and against the classifier's own time: python scripts/bench.py [lime deletion ...] [repeats=5]."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout that is not installed

# Threads of all packages sleep, not spin, while they wait: where other programs use the cores too, a spinning one costs the others'
# time slices, and short work is then timed by the scheduler. To be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pomelo_lab.bench.report import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
