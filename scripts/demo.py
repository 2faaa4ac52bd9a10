"""Both tables and the figures of the POMELO paper on the drawn faces: python scripts/demo.py [overrides]."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.demo import main

if __name__ == "__main__":
    sys.exit(main())
