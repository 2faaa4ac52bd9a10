"""Files that are written whole or not at all, with a digest that is checked when they are read."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

SEAL = "seal"  # key of a JSON file that holds the digest of the others
MARK = b"\npomelo_lab:"  # in front of the digest at the end of a sealed file


class Damaged(Exception):
    """Raised for a file whose bytes differ from those written. The text names the file."""


def cache_folder(kind: str) -> Path:
    """The folder of one kind of this user's caches, or a folder below POMELO_CACHE. Its files can be deleted at any
    time."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("POMELO_CACHE") or Path(cache, "pomelo_lab"), kind)


def parse_yaml(text: str) -> Any:
    """The values of a yaml text, read by PyYAML's compiled parser where it is installed: ten times faster.

    Raises: yaml.YAMLError for a text that is no yaml.
    """
    import yaml

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: temporary name, sync, rename. Raises OSError naming the file when the disk is
    full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"cannot write {path} ({len(data) / 1e6:.1f} MB): {error.strerror}. What is finished is kept: "
            "free some space or set paths.outputs, and run the same command again",
        ) from None


def temporary_name(path: Path) -> Path:
    """A name beside a file that contains the host and the process that write it."""
    return path.with_name(f".{path.name}.{HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 with `write_bytes`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Mapping[str, Any], indent: int = 1) -> None:
    """Write a JSON file with its seal."""
    write_text(path, json.dumps(sealed(value), indent=indent) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of `write_json`. Files of earlier versions have no seal.

    Raises: FileNotFoundError; Damaged when it is no JSON mapping or does not match its seal.
    """
    try:
        value = json.loads(path.read_bytes())
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise Damaged(f"{path} is damaged (no JSON)") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path} is damaged (no JSON mapping)")
    seal = value.pop(SEAL, None)
    if seal is not None and seal != compute_seal(value):
        raise Damaged(f"{path} is damaged (it does not match its seal)")
    return value


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values with their digest added, under the key SEAL."""
    return {**value, SEAL: compute_seal(value)}


def compute_seal(value: Mapping[str, Any]) -> str:
    """Digest of JSON values, independent of their order and layout in a file."""
    return checksum(json.dumps({name: value[name] for name in value if name != SEAL}, sort_keys=True).encode())


def seal(path: Path, about: str = "") -> None:
    """Append the digest of a file to it. Formats that are read from their head or through an index (torch, zip) still
    load.

    Args: about: what the file belongs to. A file that belongs to something else counts as damaged under this name.
    """
    digest = stream_checksum(path, path.stat().st_size, about)
    with open(path, "ab") as file:
        file.write(MARK + digest.encode())
        file.flush()
        os.fsync(file.fileno())


def check_sealed(path: Path, about: str = "") -> None:
    """Check a sealed file. Raises FileNotFoundError, or Damaged when its bytes differ from those sealed."""
    length = path.stat().st_size - len(MARK) - 32
    with open(path, "rb") as file:
        file.seek(max(length, 0))
        end = file.read()
    if length < 0 or end != MARK + stream_checksum(path, length, about).encode():
        raise Damaged(f"{path} is damaged (it does not match its digest)")


def stream_checksum(path: Path, length: int, about: str) -> str:
    """Digest of the first `length` bytes of a file, which may be larger than the memory."""
    hasher = hashlib.blake2b(about.encode() + b"\0", digest_size=16)
    with open(path, "rb") as file:
        while length > 0 and (chunk := file.read(min(length, 1 << 20))):
            hasher.update(chunk)
            length -= len(chunk)
    return hasher.hexdigest()


def checksum(data: bytes) -> str:
    """The digest of bytes in 32 hex characters."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


HOST = "".join(c if c.isalnum() else "_" for c in socket.gethostname())[:40] or "host"


ABANDONED_S = 600.0  # longer than any file takes to write


@functools.lru_cache(maxsize=4096)
def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine left in a folder; once per folder and
    process."""
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if entry.name.startswith(".") and entry.name.endswith(".tmp")]
    for path in left:
        host, _, pid = path.rpartition("-")[0].rpartition(".")[2].rpartition("-")
        if host == HOST and pid.isdigit() and not is_alive(int(pid)):
            # another user's, or swept by another process: it costs room, nothing else
            with contextlib.suppress(OSError):
                # a process of another container may have this host's name
                if time.time() - os.stat(path).st_mtime > ABANDONED_S:
                    os.unlink(path)
                    log.info("removed %s, which a killed process left", path)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
