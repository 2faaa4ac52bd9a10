"""Upload finished offline W&B runs: python scripts/sync.py [outputs folder], also written paths.outputs=DIR as for the
other scripts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.tracking.sync import main

if __name__ == "__main__":
    sys.exit(main())
