"""The files of a score folder as they are read: by tables, by the status and by the report of a finished job.

The module imports no torch, so that stored results are shown within a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.config.fingerprint import file_digest
from pomelo_lab.files import Damaged, read_json, write_bytes

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

    try:
        if digest is not None:
            return file_digest(path) == digest
        return bool(read_columns(path) if path.suffix == ".parquet" else read_json(path) is not None)
    except (OSError, Damaged, pa.ArrowException):
        return False


def read_columns(path: Path) -> dict[str, list[Any]]:
    """The columns of a file scores.parquet. `pyarrow.parquet.read_table` would import pandas."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read().to_pydict()


def write_columns(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes columns of texts, integers or numbers as a parquet file, whole or not at all. A value may be None."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({name: arrow_array(values) for name, values in columns.items()}), buffer)
    write_bytes(path, buffer.getvalue().to_pybytes())


def arrow_array(values: Sequence[Any]) -> Any:
    """The Arrow array of a column, made of its bytes. `pyarrow.array` would import pandas."""
    import numpy as np
    import pyarrow as pa

    known = [value is not None for value in values]
    if not any(known):
        return pa.nulls(len(values))
    valid = None if all(known) else pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
    if any(isinstance(value, str) for value in values):
        texts = [b"" if value is None else value.encode() for value in values]
        ends = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        buffers = [valid, pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(texts))]
        return pa.Array.from_buffers(pa.string(), len(values), buffers)
    whole = all(isinstance(value, int) for value in values if value is not None)
    numbers = np.array([0 if value is None else value for value in values], dtype=np.int64 if whole else np.float64)
    kind = pa.int64() if whole else pa.float64()
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(numbers.tobytes())])


def file_digests(folder: Path) -> dict[str, str]:
    """The digests of a finished job's files, for status.json."""
    return {name: file_digest(folder / name) for name in ("config.yaml", *FILES)}


def read_summary(folder: Path) -> dict[str, Any]:
    """Reads the summaries in a score folder, by metric. {} when the file is missing or damaged."""
    try:
        return {name: row for name, row in read_json(folder / "summary.json").items() if name != "schema"}
    except (OSError, Damaged):
        return {}
