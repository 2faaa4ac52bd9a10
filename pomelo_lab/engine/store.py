"""Artefacts on disk, addressed by their fingerprints: shards are written once, atomically, and checked when read.

Layout: <root>/<kind>/<fingerprint>/<group>-<images>.safetensors, one file per fixed group of images.
Safe side by side: a shard is computed under a lock that is free again when its holder dies, written to a temporary
name, synced, renamed. Its digest tells a shard that was cut short or changed on disk, or that lies under the name of
another; such a shard is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pomelo_lab.files import Damaged, checksum, sweep, write_bytes, write_text
from pomelo_lab.locks import locked

log = logging.getLogger(__name__)

GROUP = 16  # images per shard: part of the layout, not of the numbers


class ShardKey(NamedTuple):
    """Which shard: an artefact, a group of its images, and how many of them from the first on.

    kind: a folder of the store ("explanation"). group: or the number of a part. n_images: 0 for what is measured on
    training images.
    """

    kind: str
    fingerprint: str
    group: int = 0
    n_images: int = 0


@dataclass(frozen=True)
class Shard:
    """Named tensors with the image axis first, and what was recorded when they were made.

    meta: "image_id" (list), "seconds", "queries" (classifier), "evaluations" (generator), ... as JSON values.
    """

    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """All artefacts below one folder.

    Args: root: `paths.outputs`; created when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._whole: dict[Path, tuple[int, int]] = {}  # shards that were read without a fault: (bytes, mtime_ns)
        self._described: set[tuple[str, str]] = set()

    def folder(self, kind: str, fingerprint: str) -> Path:
        return self.root / kind / fingerprint

    def path(self, key: ShardKey) -> Path:
        return self.folder(key.kind, key.fingerprint) / f"{key.group:05d}-{key.n_images:02d}.safetensors"

    def find(self, key: ShardKey) -> Path | None:
        """The file of a shard with at least the images asked for, or None."""
        for n_images in (key.n_images, *range(key.n_images + 1, GROUP + 1)):
            if (path := self.path(key._replace(n_images=n_images))).exists():
                return path
        return None

    def get_or_make(
        self,
        key: ShardKey,
        make: Callable[[Any], Shard],
        inputs: Callable[[], Any] = lambda: None,
        keep: bool = True,
        wait: bool = True,
    ) -> tuple[Shard | None, bool]:
        """The shard, and whether it was made now.

        Args:
            make: computes it from what `inputs` returned. It is called under the shard's lock, at most once among all
                processes.
            inputs: gets what `make` needs, before the lock is taken, so that no two locks are ever held at once.
            keep: False computes without writing (large artefacts over the limit).
            wait: False gives (None, False) while another process makes it.
        """
        from filelock import Timeout

        if (stored := self.read(key)) is not None:
            return stored, False
        given = inputs()
        if not keep:
            shard = make(given)
            write_shard(self.path(cost_of(key)), Shard({}, shard.meta))
            return shard, True
        path = self.path(key)
        try:
            with self.lock(path.with_name(f".{path.stem}.lock"), wait):
                if (stored := self.read(key)) is not None:
                    return stored, False
                shard = make(given)
                write_shard(path, shard)
        except Timeout:
            if wait:
                raise
            return None, False
        return shard, True

    def read(self, key: ShardKey) -> Shard | None:
        """The stored shard cut to its first n_images, or None. A damaged file is named in the log and removed."""
        path = self.find(key)
        if path is None:
            return None
        try:
            state = path.stat()
            shard = read_shard(path)
        except FileNotFoundError:  # another process removed a damaged file
            return self.read(key)
        except Damaged as error:
            try:
                path.unlink(missing_ok=True)
            except OSError:  # a folder that cannot be written
                log.warning("%s: not used", error)
                return None
            log.warning("%s: removed, it is made again when it is needed", error)
            return self.read(key)
        self._whole[path] = state.st_size, state.st_mtime_ns
        return cut(shard, key.n_images)

    def is_whole(self, key: ShardKey) -> bool:
        """Whether the shard is there and undamaged.

        A damaged one is removed. Once read, it is read again when its size or time changed.
        """
        path = self.find(key)
        if path is not None and path in self._whole:
            with contextlib.suppress(FileNotFoundError):  # another process removed a damaged file
                state = path.stat()
                if self._whole[path] == (state.st_size, state.st_mtime_ns):
                    return True
        return self.read(key) is not None

    def meta(self, key: ShardKey) -> dict[str, Any]:
        """What was recorded when a shard was made, without reading its tensors; {} when there is none."""
        from safetensors import SafetensorError, safe_open

        path = self.find(key) or self.find(cost_of(key))
        if path is None:
            return {}
        try:
            with safe_open(path, framework="pt") as file:
                return read_meta(path, dict(file.metadata() or {}))
        except (SafetensorError, OSError, ValueError, Damaged):
            return {}

    def drop(self, kind: str, fingerprint: str) -> None:
        """Remove all shards of an artefact."""
        for path in self.folder(kind, fingerprint).glob("*.safetensors"):
            path.unlink(missing_ok=True)

    def lock(self, path: Path, wait: bool = True) -> AbstractContextManager[bool]:
        """Hold a lock file (`pomelo_lab.locks.locked`)."""
        return locked(path, wait)

    def describe(self, kind: str, fingerprint: str, provenance: Mapping[str, Any]) -> None:
        """Write the provenance of shards beside them, for people, where it is missing or differs.

        Leftovers of killed processes are removed.
        """
        if (kind, fingerprint) in self._described:
            return
        path, text = self.folder(kind, fingerprint) / "made_from.json", json.dumps(provenance, indent=1, sort_keys=True)
        if not path.parent.is_dir():
            return
        self._described.add((kind, fingerprint))
        try:
            sweep(path.parent)
            if not path.exists() or path.read_bytes() != text.encode():
                write_text(path, text)
        except OSError as error:  # results can be read from a folder that cannot be written
            log.debug("%s", error)


def cost_of(key: ShardKey) -> ShardKey:
    """Where the costs of a shard that is not kept are recorded."""
    return key._replace(kind=f"{key.kind}-cost")


def write_shard(path: Path, shard: Shard) -> None:
    """Write tensors and JSON metadata to a safetensors file, all or nothing."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in shard.tensors.items()}
    meta = {name: json.dumps(value) for name, value in shard.meta.items()} | {"of": name_of(path)}
    meta["meta_digest"] = checksum(json.dumps(meta, sort_keys=True).encode())
    write_bytes(path, save(tensors, {**meta, "digest": content_digest(tensors, meta)}))


def read_shard(path: Path) -> Shard:
    """Read a shard back.

    Raises: FileNotFoundError; Damaged when its content does not match its digest, or it lies under another's name.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="pt") as file:
            raw = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        meta = read_meta(path, raw)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise Damaged(f"shard {path} is damaged ({error})") from None
    if raw.pop("digest", None) != content_digest(tensors, raw):
        raise Damaged(f"shard {path} is damaged (it does not match its digest)")
    return Shard(tensors, meta)


def read_meta(path: Path, raw: Mapping[str, str]) -> dict[str, Any]:
    """What was recorded, from a shard's metadata.

    Raises: Damaged when it does not match its own digest, or lies under another's name.
    """
    recorded = {name: text for name, text in raw.items() if name not in ("digest", "meta_digest")}
    if "meta_digest" in raw and raw["meta_digest"] != checksum(json.dumps(recorded, sort_keys=True).encode()):
        raise Damaged(f"shard {path} is damaged (it does not match its digest)")
    written_as = recorded.pop("of", None)  # shards of earlier versions do not say
    if written_as not in (None, name_of(path)):
        raise Damaged(f"shard {path} is that of {written_as}")
    return {name: json.loads(text) for name, text in recorded.items()}


def name_of(path: Path) -> str:
    """Kind, fingerprint and file of a shard, in whatever folder the store lies."""
    return "/".join(path.parts[-3:])


def cut(shard: Shard, n: int) -> Shard:
    """The first n images of a shard."""
    ids = shard.meta.get("image_id", [])
    if len(ids) <= n:
        return shard
    return Shard({name: tensor[:n] for name, tensor in shard.tensors.items()}, {**shard.meta, "image_id": ids[:n]})


def content_digest(tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """Digest of names, types, shapes and bytes."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        hasher.update(tensor.contiguous().view(-1).numpy().data if tensor.numel() else b"")
    hasher.update(json.dumps(dict(meta), sort_keys=True).encode())
    return hasher.hexdigest()
