"""The store of artefacts on disk, addressed by fingerprints. Shards are written once and checked when they are read.

Layout: <root>/<kind>/<fingerprint>/<group>-<images>.safetensors, one file for each fixed group of images.

Several processes can use a store at the same time. A shard is computed under a lock, which is released when its process
dies. It is written under a temporary name, synced and renamed. A digest reveals a shard that is incomplete, was changed
on disk, or has the name of another shard. Such a shard is computed again.
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

GROUP = 16  # images per shard; it determines the layout of the store and affects no result


class ShardKey(NamedTuple):
    """The key of a shard: an artefact, a group of images, and the number of images.

    kind: a folder of the store ("explanation"). group: the number of a group of images, or of a part of statistics.
    n_images: the shard contains the first n_images of the group; 0 for statistics of training images.
    """

    kind: str
    fingerprint: str
    group: int = 0
    n_images: int = 0


@dataclass(frozen=True)
class Shard:
    """Named tensors, whose first axis is the image, and a record of their computation.

    meta: "image_id" (list), "seconds", "queries" (classifier), "evaluations" (generator), ... as JSON values.
    """

    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """The artefacts below one folder.

    Args: root: the folder, `paths.outputs`. It is created when the first shard is written.
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
        """The file of a shard that contains at least the images of the key. None when there is no such file."""
        for n_images in (key.n_images, *range(key.n_images + 1, GROUP + 1)):
            if (path := self.path(key._replace(n_images=n_images))).exists():
                return path
        return None

    def get_or_make(
        self,
        key: ShardKey,
        make: Callable[[Any], Shard],
        inputs: Callable[[], Any] = lambda: None,
        write: bool = True,
        wait: bool = True,
    ) -> tuple[Shard | None, bool]:
        """Reads a shard, or computes and writes it.

        Args:
            make: computes the shard from the result of `inputs`. It is called under the shard's lock, so that only one
                process computes the shard.
            inputs: returns the inputs of `make`. It is called before the lock is taken.
            write: False = compute the shard without writing it, for artefacts over the limit.
            wait: False = return (None, False) while another process computes the shard.
        Returns: the shard, and whether it was computed now.
        """
        from filelock import Timeout

        if (stored := self.read(key)) is not None:
            return stored, False
        given = inputs()
        if not write:
            shard = make(given)
            write_shard(self.path(cost_key(key)), Shard({}, shard.meta))
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
        """The stored shard with its first n_images. None when it is missing.

        A damaged file is removed, and a warning names it.
        """
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
        """Whether a shard is stored and undamaged.

        A damaged shard is removed. A shard that was read before is only read again when the size or the modification
        time of its file has changed.
        """
        path = self.find(key)
        if path is not None and path in self._whole:
            with contextlib.suppress(FileNotFoundError):  # another process removed a damaged file
                state = path.stat()
                if self._whole[path] == (state.st_size, state.st_mtime_ns):
                    return True
        return self.read(key) is not None

    def meta(self, key: ShardKey) -> dict[str, Any]:
        """The record of a shard's computation. Its tensors are not read. {} when the shard is missing or damaged."""
        from safetensors import SafetensorError, safe_open

        path = self.find(key) or self.find(cost_key(key))
        if path is None:
            return {}
        try:
            with safe_open(path, framework="pt") as file:
                return read_meta(path, dict(file.metadata() or {}))
        except (SafetensorError, OSError, ValueError, Damaged):
            return {}

    def drop(self, kind: str, fingerprint: str) -> None:
        """Removes all shards of an artefact."""
        for path in self.folder(kind, fingerprint).glob("*.safetensors"):
            path.unlink(missing_ok=True)

    def lock(self, path: Path, wait: bool = True) -> AbstractContextManager[bool]:
        """Holds a lock file during a block (see `pomelo_lab.locks.locked`)."""
        return locked(path, wait)

    def describe(self, kind: str, fingerprint: str, provenance: Mapping[str, Any]) -> None:
        """Writes the provenance of an artefact to made_from.json in its folder, so that users can read it.

        Leftover files of killed processes are removed.
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
        except OSError as error:  # a folder without write access can still be read
            log.debug("%s", error)


def cost_key(key: ShardKey) -> ShardKey:
    """The key under which the costs of a shard are recorded when the shard itself is not stored."""
    return key._replace(kind=f"{key.kind}-cost")


def write_shard(path: Path, shard: Shard) -> None:
    """Writes tensors and JSON metadata to a safetensors file, completely or not at all."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in shard.tensors.items()}
    meta = {name: json.dumps(value) for name, value in shard.meta.items()} | {"of": name_of(path)}
    meta["meta_digest"] = checksum(json.dumps(meta, sort_keys=True).encode())
    write_bytes(path, save(tensors, {**meta, "digest": content_digest(tensors, meta)}))


def read_shard(path: Path) -> Shard:
    """Reads a shard.

    Raises: FileNotFoundError when there is no file; Damaged when the content does not match its digest, or when the
        file has the name of another shard.
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
    """The record of a shard's computation, taken from the metadata of its file.

    Raises: Damaged when the record does not match its digest, or when the file has the name of another shard.
    """
    recorded = {name: text for name, text in raw.items() if name not in ("digest", "meta_digest")}
    if "meta_digest" in raw and raw["meta_digest"] != checksum(json.dumps(recorded, sort_keys=True).encode()):
        raise Damaged(f"shard {path} is damaged (it does not match its digest)")
    written_as = recorded.pop("of", None)  # shards of earlier versions do not contain it
    if written_as not in (None, name_of(path)):
        raise Damaged(f"shard {path} is that of {written_as}")
    return {name: json.loads(text) for name, text in recorded.items()}


def name_of(path: Path) -> str:
    """The kind, fingerprint and file name of a shard. They do not depend on the location of the store."""
    return "/".join(path.parts[-3:])


def cut(shard: Shard, n: int) -> Shard:
    """The first n images of a shard."""
    ids = shard.meta.get("image_id", [])
    if len(ids) <= n:
        return shard
    return Shard({name: tensor[:n] for name, tensor in shard.tensors.items()}, {**shard.meta, "image_id": ids[:n]})


def content_digest(tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """The digest of the names, types, shapes and bytes of tensors, and of their metadata."""
    hasher = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        hasher.update(tensor.contiguous().view(-1).numpy().data if tensor.numel() else b"")
    hasher.update(json.dumps(dict(meta), sort_keys=True).encode())
    return hasher.hexdigest()
