"""Artefacts on disk, addressed by what made them: shards written once, atomically, checked when read.

Layout: <root>/<kind>/<fingerprint>/<group>-<images>.safetensors, one file per fixed group of images.
Safe side by side: a shard is computed under a lock that the operating system releases when its holder dies, written to a
temporary name, synced, renamed. A shard that was cut short or changed on disk is found by its digest and made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pomelo_lab.files import write_bytes, write_text

log = logging.getLogger(__name__)

GROUP = 16  # images per shard: part of the layout, not of the numbers


@dataclass(frozen=True)
class Shard:
    """Named tensors with the image axis first, and what was recorded when they were made.

    meta: "image_id" (list), "seconds", "queries" (classifier), "evaluations" (generator), ... as JSON values.
    """

    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)


class Corrupted(Exception):
    """A shard whose content does not match its digest, or that cannot be read at all."""


class Store:
    """All artefacts below one folder.

    Args: root: `paths.outputs`; created when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, kind: str, fingerprint: str) -> Path:
        return self.root / kind / fingerprint

    def path(self, kind: str, fingerprint: str, group: int, n: int) -> Path:
        return self.folder(kind, fingerprint) / f"{group:05d}-{n:02d}.safetensors"

    def find(self, kind: str, fingerprint: str, group: int, n: int) -> Path | None:
        """The shard with the first n images of a group; a fuller one serves as well."""
        for size in (n, *range(n + 1, GROUP + 1)):
            if (path := self.path(kind, fingerprint, group, size)).exists():
                return path
        return None

    def get_or_make(
        self,
        kind: str,
        fingerprint: str,
        group: int,
        n: int,
        make: Callable[[], Shard],
        prepare: Callable[[], Any] = lambda: None,
        keep: bool = True,
        wait: bool = True,
    ) -> tuple[Shard | None, bool]:
        """The shard, and whether it was made now.

        Args:
            make: computes it; called under the shard's lock, at most once among all processes.
            prepare: makes what `make` needs, before the lock is taken, so that no two locks are ever held at once.
            keep: False computes without writing (large artefacts over the limit).
            wait: False gives (None, False) while another process makes it.
        """
        from filelock import Timeout

        if (found := self.read(kind, fingerprint, group, n)) is not None:
            return found, False
        prepare()
        if not keep:
            shard = make()
            write_shard(self.path(f"{kind}-cost", fingerprint, group, n), Shard({}, shard.meta))
            return shard, True
        path = self.path(kind, fingerprint, group, n)
        try:
            held = self.lock(path.with_name(f".{path.stem}.lock")).acquire(blocking=wait)
        except Timeout:
            return None, False
        with held:
            if (found := self.read(kind, fingerprint, group, n)) is not None:
                return found, False
            shard = make()
            write_shard(path, shard)
        return shard, True

    def read(self, kind: str, fingerprint: str, group: int, n: int) -> Shard | None:
        """The stored shard cut to n images, or None. A corrupted file is named in the log and removed."""
        path = self.find(kind, fingerprint, group, n)
        if path is None:
            return None
        try:
            return cut(read_shard(path), n)
        except Corrupted as error:
            log.warning("%s: it is made again", error)
            path.unlink(missing_ok=True)
            return self.read(kind, fingerprint, group, n)

    def meta(self, kind: str, fingerprint: str, group: int, n: int) -> dict[str, Any]:
        """What was recorded when a shard was made, without reading its tensors; {} when there is none."""
        from safetensors import SafetensorError, safe_open

        path = self.find(kind, fingerprint, group, n) or self.find(f"{kind}-cost", fingerprint, group, n)
        if path is None:
            return {}
        try:
            with safe_open(path, framework="pt") as file:
                return {name: json.loads(text) for name, text in (file.metadata() or {}).items() if name != "digest"}
        except (SafetensorError, OSError, ValueError):
            return {}

    def drop(self, kind: str, fingerprint: str) -> None:
        """Remove all shards of an artefact."""
        for path in self.folder(kind, fingerprint).glob("*.safetensors"):
            path.unlink(missing_ok=True)

    def lock(self, path: Path):
        """A lock file that is free again when its holder dies."""
        from filelock import FileLock

        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def describe(self, kind: str, fingerprint: str, science: Mapping[str, Any]) -> None:
        """Beside the shards, once: what determined them, for people."""
        path = self.folder(kind, fingerprint) / "made_from.json"
        if not path.exists():
            write_text(path, json.dumps(science, indent=1, sort_keys=True))


def write_shard(path: Path, shard: Shard) -> None:
    """Write tensors and JSON metadata to a safetensors file, all or nothing."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in shard.tensors.items()}
    meta = {name: json.dumps(value) for name, value in shard.meta.items()}
    write_bytes(path, save(tensors, {**meta, "digest": content_digest(tensors, meta)}))


def read_shard(path: Path) -> Shard:
    """Read a shard back. Raises Corrupted when its content does not match its digest."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            raw = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        digest = raw.pop("digest", None)
        meta = {name: json.loads(text) for name, text in raw.items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise Corrupted(f"unreadable shard {path} ({error})") from None
    if digest != content_digest(tensors, raw):
        raise Corrupted(f"shard {path} does not match its digest")
    return Shard(tensors, meta)


def cut(shard: Shard, n: int) -> Shard:
    """The first n images of a shard."""
    ids = shard.meta.get("image_id", [])
    if len(ids) <= n:
        return shard
    return Shard({name: tensor[:n] for name, tensor in shard.tensors.items()}, {**shard.meta, "image_id": ids[:n]})


def content_digest(tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """Digest of names, types, shapes and bytes."""
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        found.update(tensor.contiguous().view(-1).numpy().data if tensor.numel() else b"")
    found.update(json.dumps(dict(meta), sort_keys=True).encode())
    return found.hexdigest()
