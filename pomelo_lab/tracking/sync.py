"""Uploads finished offline W&B runs, each once."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pomelo_lab.config.entry import script_command
from pomelo_lab.engine.store import Store
from pomelo_lab.files import write_text

DONE = "synced.txt"
# failures that affect every run
COMMON = re.compile(r"API key|log ?in|network|connect|no answer|resolve|unauthorized", re.IGNORECASE)
REASON = re.compile(COMMON.pattern + r"|error|fail|refus|denied|timed? ?out", re.IGNORECASE)
TABLE = "table"  # prefix of the id of a run that contains a table instead of a job


def find_pending(outputs: Path) -> list[Path]:
    """The offline run folders of finished jobs that were not uploaded yet.

    Only the newest folder of each fingerprint is listed.
    """
    from pomelo_lab.engine.score_files import read_status

    newest: dict[str, Path] = {}
    for folder in sorted((outputs / "wandb").glob("offline-run-*")):
        newest[folder.name.rpartition("-")[2]] = folder
    score = Store(outputs).folder

    def is_finished(run_id: str) -> bool:
        return run_id.startswith(TABLE) or read_status(score("score", run_id)).get("state") == "done"

    return [folder for run_id, folder in newest.items() if is_finished(run_id) and not (folder / DONE).exists()]


def sync(
    outputs: Path, command: tuple[str, ...] = (sys.executable, "-m", "wandb", "sync"), limit_s: float = 600.0
) -> int:
    """Uploads each pending run and marks it as uploaded.

    A failure that affects every run, such as a missing network, ends the upload.

    Args:
        outputs: the folder that the jobs wrote to.
        command: the command that uploads a run, without the run's folder.
        limit_s: seconds after which an upload counts as failed.
    Returns: the number of runs that were not uploaded; 1 when the folder `outputs` does not exist.
    """
    if not outputs.is_dir():
        print(
            f"the outputs folder {outputs} does not exist: name the one that jobs were written to (paths.outputs)",
            file=sys.stderr,
        )
        return 1
    folders = find_pending(outputs)
    print(f"{len(folders)} finished offline runs to upload from {outputs / 'wandb'}")
    failed = 0
    for seen, folder in enumerate(folders):
        why = failure([*command, str(folder)], limit_s)
        if not why:
            write_text(folder / DONE, "uploaded\n")
            continue
        failed += 1
        print(f"not uploaded: {folder}: {why}", file=sys.stderr)
        if COMMON.search(why):
            failed += len(folders) - seen - 1
            break
    if failed:
        print(
            f"{failed} of {len(folders)} runs are left, nothing of them is lost: the same command tries again",
            file=sys.stderr,
        )
    return failed


def failure(command: Sequence[str], limit_s: float) -> str:
    """Runs a command. Returns the reason of its failure, taken from its output, or "" when it succeeded."""
    try:
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return f"no answer within {limit_s:.0f} s: is there a network, and is WANDB_BASE_URL the right server?"
    if ended.returncode == 0:
        return ""
    lines = [
        line.removeprefix("wandb: ").strip()
        for line in (ended.stdout + "\n" + ended.stderr).splitlines()
        if line.strip()
    ]
    reasons = [line for line in lines if REASON.search(line) and "error logs at" not in line]
    return " / ".join(dict.fromkeys(reasons[-2:] or lines[-1:])) or f"exit status {ended.returncode}"


def main(arguments: Sequence[str] | None = None) -> int:
    """`sync [outputs folder]`, also written paths.outputs=DIR. Returns 1 when a run could not be uploaded."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if len(arguments) > 1 or any(text.startswith("-") for text in arguments):
        print(f"usage: {script_command('sync')} [outputs folder]", file=sys.stderr)
        return 0 if {"-h", "--help"} & set(arguments) else 2
    return min(sync(Path(arguments[0].removeprefix("paths.outputs=") if arguments else "outputs")), 1)
