"""Which jobs of a preset are done: python scripts/status.py pomelo_table1 [scale=quick paths.outputs=DIR]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.results.status import main

if __name__ == "__main__":
    sys.exit(main())
