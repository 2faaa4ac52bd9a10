"""The checkpoint and the log of a training, which lie in the folder of its weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.files import SEAL, Damaged, check_sealed, compute_seal, sealed, write_text

log = logging.getLogger(__name__)

CHECKPOINT, LOG = "last.ckpt", "log.jsonl"


def drop_damaged(folder: Path) -> None:
    """Removes a checkpoint that is damaged or belongs to another training. The training then starts from step 0."""
    last = folder / CHECKPOINT
    try:
        check_sealed(last, folder.name)
    except FileNotFoundError:
        return
    except Damaged as error:
        log.warning("%s: removed, the training begins from its start", error)
        last.unlink(missing_ok=True)


def log_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The text of log.jsonl: one line for each row, with the digest of the row."""
    return "".join(json.dumps(sealed(row)) + "\n" for row in rows)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The undamaged rows of a log.jsonl. A warning says how many rows are damaged."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
            if row.pop(SEAL) == compute_seal(row):
                rows.append(row)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            continue
    if len(rows) < len(lines):
        log.warning("%s is damaged: %d of its rows are left out", path, len(lines) - len(rows))
    return rows


def mend_log(folder: Path, rows: Sequence[Mapping[str, Any]] | None) -> None:
    """Writes log.jsonl of a finished training again when it differs from the rows on the card.

    Args: rows: the rows on the card. None for cards of earlier versions, which have no rows; the file then stays.
    """
    path = folder / LOG
    if rows is not None and (not path.exists() or path.read_bytes() != log_text(rows).encode()):
        log.warning("%s was damaged or missing: written again from the card", path)
        write_text(path, log_text(rows))
