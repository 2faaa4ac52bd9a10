"""Upload finished offline W&B runs: python scripts/sync.py [outputs folder], also written paths.outputs=DIR as for the
other scripts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whichever one is installed

from pomelo_lab.tracking.sync import sync


def main(arguments: list[str]) -> int:
    """Upload; returns 1 when a run could not be uploaded."""
    if len(arguments) > 1 or any(text.startswith("-") for text in arguments):
        sys.exit("usage: python scripts/sync.py [outputs folder]")
    return min(sync(Path(arguments[0].removeprefix("paths.outputs=") if arguments else "outputs")), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
