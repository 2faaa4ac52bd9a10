"""Print a published table beside our numbers: python scripts/table.py pomelo_table1 [scale=quick paths.outputs=DIR]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.results.show import main

if __name__ == "__main__":
    sys.exit(main())
