"""Print a paper's table beside our numbers: python scripts/table.py pomelo_table1 [scale=quick paths.outputs=DIR].

--figure NAME draws another figure of its jobs; --help lists options and tables.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.results.show import main

if __name__ == "__main__":
    sys.exit(main())
