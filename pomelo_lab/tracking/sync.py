"""Upload finished offline W&B runs, each once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pomelo_lab.files import write_text
from pomelo_lab.results.store import Store

DONE = "synced.txt"


def pending(outputs: Path) -> list[Path]:
    """Offline run folders whose job is done and that were not uploaded yet, one per fingerprint (the newest)."""
    from pomelo_lab.results.score import read_status

    newest: dict[str, Path] = {}
    for folder in sorted((outputs / "wandb").glob("offline-run-*")):
        newest[folder.name.rpartition("-")[2]] = folder
    score = Store(outputs).folder
    finished = [f for id_, f in newest.items() if read_status(score("score", id_)).get("state") == "done"]
    return [f for f in finished if not (f / DONE).exists()]


def sync(outputs: Path, command: tuple[str, ...] = (sys.executable, "-m", "wandb", "sync")) -> int:
    """Upload each pending run and note that it was. Returns how many failed."""
    failed = 0
    folders = pending(outputs)
    print(f"{len(folders)} finished offline runs to upload from {outputs / 'wandb'}")
    for folder in folders:
        if subprocess.run([*command, str(folder)], check=False).returncode == 0:
            write_text(folder / DONE, "uploaded\n")
        else:
            failed += 1
            print(f"not uploaded: {folder}", file=sys.stderr)
    return failed
