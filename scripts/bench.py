"""Ratios against other packages and against the classifier's own time: python scripts/bench.py [lime deletion ...]
[repeats=5]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.bench.report import main

if __name__ == "__main__":
    sys.exit(main())
