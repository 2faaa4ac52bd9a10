"""The canonical form of a config, which holds only what determines a result, and the digest of that form."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pomelo_lab.config.signature import defaults, hints, is_later, is_local, is_weights, locate


def canonical(node: Any, drop: Sequence[str] = (), inside: bool = False) -> Any:
    """The provenance of a config node as plain JSON values.

    Defaults of the signature are filled in, and numbers take the type of their hint. With a default of 5.0, leaving out
    `sigma`, writing `sigma: 5` and writing `sigma: 5.0` therefore give the same provenance. Arguments that are
    marked with `NotFingerprinted`, such as locations, are dropped. The digest of a file replaces the path of weights.

    Args:
        node: a resolved `_target_` node, or any plain value.
        drop: argument names to leave out at the top level.
        inside: whether the node is a part of another node. The provenance of a data set inside a component includes
            the digest of its images. The caller adds that digest for the data set of a job, because a training reads
            other images of it than a job.
    """
    if isinstance(node, Mapping) and isinstance(node.get("_target_"), str):
        target = locate(node["_target_"])
        known = hints(target)
        out: dict[str, Any] = {"_target_": node["_target_"]}
        if getattr(target, "revision", 1) != 1:
            out["revision"] = target.revision
        values = defaults(target)
        values |= {n: v for n, v in node.items() if not n.startswith("_")}
        for name in sorted(values):
            hint = known.get(name, Any)
            value = values[name]
            if name in drop or is_local(hint) or (is_later(hint) and value == defaults(target)[name]):
                continue
            if is_weights(hint) and isinstance(value, str) and Path(value).exists():
                value = file_digest(value)
            out[name] = canonical(coerce(value, hint), inside=True)
        # what a location contains, for arguments that name a location
        if (more := getattr(target, "more_provenance", None)) is not None:
            out["more_science"] = more(values)  # the key is part of stored fingerprints
        if (
            inside
            and (contents := getattr(target, "contents_provenance", None)) is not None
            and (provenance := contents(values)) is not None
        ):
            out["contents"] = provenance
        return out
    if isinstance(node, Mapping):
        return {str(name): canonical(node[name], inside=inside) for name in sorted(node)}
    if isinstance(node, (list, tuple)):
        return [canonical(item, inside=inside) for item in node]
    return node


def coerce(value: Any, hint: Any) -> Any:
    """Converts whole numbers to floats where the hint is a float, inside unions and lists too."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and takes_float(hint):
        return float(value)
    if isinstance(value, (list, tuple)) and typing.get_args(hint):
        return [coerce(item, hint) for item in value]
    return value


def takes_float(hint: Any) -> bool:
    """Whether a hint accepts floats but no integers."""
    leaves = set(leaf_types(hint))
    return float in leaves and int not in leaves


def leaf_types(hint: Any) -> Iterator[type]:
    """The plain types inside a hint: `Annotated[float, Range(1)] | None` -> float, NoneType."""
    if inspect.isclass(hint):
        yield hint
    for argument in typing.get_args(hint):
        yield from leaf_types(argument)


def digest(value: Any) -> str:
    """The first 16 hex characters of the sha256 of a canonical value. They are safe in file names and as a W&B id."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """The first 16 hex characters of the sha256 of a file's bytes, or of the names and bytes of all files of a folder.

    The digest is remembered until the size or the modification time of a file changes.
    """
    path = Path(path)
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stamp = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _file_digest(stamp, str(path))


@functools.lru_cache(maxsize=4096)
def _file_digest(stamp: tuple[tuple[str, int, int], ...], root: str) -> str:
    hasher = hashlib.sha256()
    for name, _, _ in stamp:
        hasher.update(str(Path(name).relative_to(root)).encode() + b"\0" if name != root else b"")
        with open(name, "rb") as file:
            while chunk := file.read(1 << 20):
                hasher.update(chunk)
    return hasher.hexdigest()[:16]
