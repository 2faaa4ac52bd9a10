"""Print a published table beside our numbers: python scripts/table.py pomelo_table1 [scale=quick paths.outputs=DIR]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout that is not installed

from pomelo_lab.results.show import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
