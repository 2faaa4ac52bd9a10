"""Upload finished offline W&B runs: python scripts/sync.py [outputs folder], also written paths.outputs=DIR as for the
other scripts."""

import sys
from pathlib import Path

from pomelo_lab.tracking.sync import sync

if len(sys.argv) > 2 or any(a.startswith("-") for a in sys.argv[1:]):
    sys.exit("usage: python scripts/sync.py [outputs folder]")
sys.exit(min(sync(Path(sys.argv[1].removeprefix("paths.outputs=") if len(sys.argv) > 1 else "outputs")), 1))
