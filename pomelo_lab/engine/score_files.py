"""The files of a score folder as they are read: by tables, by the status and by the report of a finished job.

The module imports no torch, so that stored results are shown within a moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pomelo_lab.config.fingerprint import file_digest
from pomelo_lab.files import Damaged, read_json

SHEET, SHOWN = "sheet.png", 8  # the picture of a job, and the number of images on it by default
FILES = ("scores.parquet", "summary.json")  # the results that scripts outside this package read


def read_status(folder: Path) -> dict[str, Any]:
    """Reads the status of a score folder. {} when there is no status.

    The state is "damaged" when status.json is damaged, or a result does not match its digest in status.json. The key
    "damaged" then names the files.
    """
    path = folder / "status.json"
    try:
        status = read_json(path)
    except OSError:
        return {}
    except Damaged:
        status = {}
    if not isinstance(status.get("state"), str) or status.get("fingerprint") != folder.name:
        return {"state": "damaged", "damaged": [str(path)]}
    if status["state"] != "done":
        return status
    wanted = status.get("files") or dict.fromkeys(FILES)  # jobs of earlier versions have no digests
    bad = [str(folder / name) for name, digest in wanted.items() if not is_whole(folder / name, digest)]
    return {**status, "state": "damaged", "damaged": bad} if bad else status


def is_whole(path: Path, digest: str | None) -> bool:
    """Whether a file has a digest. When the digest is None, whether the file can be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if digest is not None:
            return file_digest(path) == digest
        return bool(pq.read_table(path) if path.suffix == ".parquet" else read_json(path) is not None)
    except (OSError, Damaged, pa.ArrowException):
        return False


def file_digests(folder: Path) -> dict[str, str]:
    """The digests of a finished job's files, for status.json."""
    return {name: file_digest(folder / name) for name in ("config.yaml", *FILES)}


def read_summary(folder: Path) -> dict[str, Any]:
    """Reads the summaries in a score folder, by metric. {} when the file is missing or damaged."""
    try:
        return {name: row for name, row in read_json(folder / "summary.json").items() if name != "schema"}
    except (OSError, Damaged):
        return {}
