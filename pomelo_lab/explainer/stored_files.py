"""Maps and images that were made elsewhere, read from a folder or a file of arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pomelo_lab.dataset.image_file import IMAGE_SUFFIXES, open_image
from pomelo_lab.explainer.manifest import MANIFEST, read_manifest

MOST = 20  # names in one message
IDS = ("ids", "image_id", "image_ids")  # entries of a file that name its images
FLIPPED = ("CCF", "ICF")  # folders of a result tree: the counterfactual reached its class, or did not
RIGHT = {"CC": "Correct", "IC": "Incorrect"}  # folders of results, and of the originals


class Kind(NamedTuple):
    """One of the two parts of an explanation.

    part: its name in `Explanation` and in a manifest. key: the argument that names its file. n_axes: axes of one image.
    arrays: names of the entry that holds all images.
    """

    part: str
    key: str
    n_axes: int
    arrays: tuple[str, ...]


MAPS = Kind("attribution", "maps", 2, ("attribution", "attributions", "maps", "map"))
IMAGES = Kind("counterfactual", "counterfactuals", 3, ("counterfactual", "counterfactuals", "images"))


@dataclass(frozen=True)
class Entry:
    """The map or image of one image.

    shape: of the array, known before it is read. target: the explained class, if the file says it. numbers: the
    explanation's extras. original: the file of the image that was explained, if it lies beside.
    """

    shape: tuple[int, ...]
    read: Callable[[], Any]
    target: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    original: Path | None = None

    def tensor(self) -> Tensor:
        """The values: float32; whole numbers of 8 and 16 bits of image files have become [0,1]."""
        return torch.from_numpy(np.array(self.read(), dtype=np.float32))


@dataclass(frozen=True)
class Stored:
    """The content of a folder or a file.

    named: name -> entry. rows: position in the data set -> entry, for files without names. whole: whether the rows are
    all images of the data set.
    """

    named: Mapping[str, Entry] = field(default_factory=dict)
    rows: Mapping[int, Entry] = field(default_factory=dict)
    whole: bool = False


def read_stored(path: Path, kind: Kind, channels: int) -> Stored:
    """Reads the names and shapes of what a folder or a file holds.

    Args: channels: of the data set's images, for counterfactuals that are image files.
    Raises: FileNotFoundError, or ValueError with the file, for what cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(f"explainer.{kind.key}={path} does not exist")
    if path.name == MANIFEST or (path / MANIFEST).is_file():
        return from_manifest(path if path.name == MANIFEST else path / MANIFEST, kind)
    if path.is_dir():
        roots = tree_roots(path) if kind is IMAGES else []
        return read_tree(path, roots, channels) if roots else read_folder(path, kind, channels)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(
            f"explainer.{kind.key}={path} must be a folder, {MANIFEST} or a file of {', '.join(READERS)}, got "
            f"{path.suffix or 'no suffix'}"
        )
    try:
        return reader(path, kind)
    except (OSError, ValueError, KeyError) as error:
        text = str(error)
        raise ValueError(text if str(path) in text else f"{path} cannot be read: {text}") from error


# --- files of arrays ------------------------------------------------------------------------------------------------


def read_npy(path: Path, kind: Kind) -> Stored:
    """Reads one array of all images, in the order of the data set."""
    return from_arrays(path, kind, {kind.arrays[0]: np.load(path, mmap_mode="r", allow_pickle=False)})


def read_npz(path: Path, kind: Kind) -> Stored:
    """Reads an array of all images with an entry `ids`, or an entry for each image."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    ids = next((arrays.pop(name) for name in IDS if name in arrays), None)
    return from_arrays(path, kind, arrays, None if ids is None else [str(name) for name in ids.tolist()])


def read_safetensors(path: Path, kind: Kind) -> Stored:
    """Reads a tensor of all images with the metadata `ids` (a JSON list), or a tensor for each image."""
    import json

    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    ids = next((json.loads(metadata[name]) for name in IDS if name in metadata), None)
    if ids is not None:  # a shard of ours holds other tensors too
        arrays = {name: array for name, array in arrays.items() if name in (*kind.arrays, "target")}
    return from_arrays(path, kind, arrays, ids)


def read_parquet(path: Path, kind: Kind) -> Stored:
    """Reads a row for each image: a column of ids, and a column of nested lists."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    ids, values = ([name for name in names if name in table.column_names] for names in (IDS, kind.arrays))
    if not ids or not values:
        raise ValueError(f"{path} must have the columns {IDS[1]} and {kind.arrays[-1]}, got {table.column_names}")
    refuse_repeated(path, names := [str(name) for name in table[ids[0]].to_pylist()])
    arrays = [np.asarray(row) for row in table[values[0]].to_pylist()]
    return Stored({name: entry_of(array) for name, array in zip(names, arrays, strict=True)})


READERS: dict[str, Callable[[Path, Kind], Stored]] = {
    ".npy": read_npy,
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".parquet": read_parquet,
}


def from_arrays(path: Path, kind: Kind, arrays: Mapping[str, Any], ids: Sequence[str] | None = None) -> Stored:
    """The entries of named arrays: one of all images, with ids or in the order of the data set, or one per image."""
    stacked = [name for name, array in arrays.items() if array.ndim == kind.n_axes + 1]
    chosen = next((name for name in kind.arrays if name in stacked), stacked[0] if len(stacked) == 1 else None)
    if not arrays:
        raise ValueError(f"{path} holds no {kind.key}")
    if ids is None and chosen is None:
        flat = [name for name, array in arrays.items() if array.ndim != kind.n_axes]
        if flat or (len(arrays) == 1 and set(arrays) <= set(kind.arrays)):
            axes = "[n,H,W]" if kind is MAPS else "[n,C,H,W]"
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in list(arrays.items())[:MOST])
            raise ValueError(f"{path} must hold one array {axes} or one array for each image, got {shapes}")
        return Stored({name: entry_of(array) for name, array in arrays.items()})
    if chosen is None:
        raise ValueError(f"{path} has ids, and must hold one array of all images, got {', '.join(arrays) or 'none'}")
    entries = [entry_of(row) for row in arrays[chosen]]
    if "target" in arrays:
        targets = np.asarray(arrays["target"])
        if targets.shape != (len(entries),):
            raise ValueError(f"{path}: target must be [{len(entries)}], one for each image, got {list(targets.shape)}")
        entries = [replace(entry, target=int(target)) for entry, target in zip(entries, targets.tolist(), strict=True)]
    if ids is None:
        return Stored(rows=dict(enumerate(entries)), whole=True)
    if len(ids) != len(entries):
        raise ValueError(f"{path} has {len(ids)} ids for {len(entries)} {kind.key}")
    refuse_repeated(path, ids)
    return Stored(dict(zip(ids, entries, strict=True)))


def entry_of(array: Any) -> Entry:
    """The entry of an array."""
    return Entry(tuple(array.shape), partial(np.asarray, array))


def refuse_repeated(path: Path, ids: Iterable[str]) -> None:
    """Raises ValueError with the ids that a file has more than once."""
    if repeated := [name for name, n in Counter(ids).items() if n > 1]:
        raise ValueError(f"{path} has several entries for {listed(repeated)}")


def listed(names: Sequence[str]) -> str:
    """Names for a message: the first ones, and the number of the others."""
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


# --- folders --------------------------------------------------------------------------------------------------------


def read_folder(path: Path, kind: Kind, channels: int) -> Stored:
    """Reads a file for each image, whose path below the folder, without its suffix, is the name of the image."""
    suffixes = {".npy", ".png"} if kind is MAPS else {".npy", *IMAGE_SUFFIXES}
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in suffixes and file.name[0] != "."]
    if not files:
        raise ValueError(f"explainer.{kind.key}={path} holds no files of {', '.join(sorted(suffixes))}")
    names = [file.relative_to(path).with_suffix("").as_posix() for file in files]
    refuse_repeated(path, names)
    return Stored({name: entry_of_file(file, kind, channels) for name, file in zip(names, files, strict=True)})


def entry_of_file(path: Path, kind: Kind, channels: int) -> Entry:
    """The entry of an array or an image file."""
    if path.suffix.lower() == ".npy":
        try:
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape  # no file stays open
            return Entry(tuple(shape), partial(np.load, path, allow_pickle=False))
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
    width, height = size_of(path)
    if kind is MAPS:
        return Entry((height, width), partial(read_gray, path))
    return Entry((channels, height, width), partial(read_colours, path, channels))


def size_of(path: Path) -> tuple[int, int]:
    """The width and the height of an image file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            return file.size
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} cannot be decoded: {error}") from None


def read_gray(path: Path) -> np.ndarray:
    """Reads a gray PNG of 8 or 16 bits as values in [0,1].

    Raises: ValueError for a picture in colours, whose values cannot be known.
    """
    from PIL import Image

    with Image.open(path) as file:
        if file.mode in ("1", "L"):
            return np.asarray(file.convert("L"), dtype=np.float64) / 255
        if file.mode.startswith("I"):
            return np.asarray(file, dtype=np.float64) / 65535
        raise ValueError(f"{path} is a picture of mode {file.mode}: a map is a .npy file or a gray PNG of 8 or 16 bits")


def read_colours(path: Path, channels: int) -> np.ndarray:
    """Reads an image file as [C,H,W] in [0,1]."""
    values = np.asarray(open_image(path, "RGB" if channels == 3 else "L"), dtype=np.float64) / 255
    return values.transpose(2, 0, 1) if values.ndim == 3 else values[None]


def from_manifest(path: Path, kind: Kind) -> Stored:
    """Reads what `python -m pomelo_lab.export` has written."""
    rows = [row for row in read_manifest(path)["images"] if row.get(kind.part)]
    if not rows:
        raise ValueError(f"{path} lists no {kind.key}")
    refuse_repeated(path, [row["image_id"] for row in rows])
    entries = {}
    for row in rows:
        file = path.parent / row[kind.part]
        if not file.is_file():
            raise FileNotFoundError(f"{file}, which {path} lists, does not exist")
        made, numbers = entry_of_file(file, kind, 3), row.get("numbers") or {}
        values = {name: float("nan") if value is None else float(value) for name, value in numbers.items()}
        entries[row["image_id"]] = Entry(made.shape, made.read, row.get("target"), values)
    return Stored(entries)


# --- the result trees of DiME and ACE -------------------------------------------------------------------------------


def tree_roots(path: Path) -> list[Path]:
    """The result trees in a folder: those that have <CC|IC>/<CCF|ICF>/CF/0000012.jpg."""
    return sorted({f.parents[2] for f in path.rglob("CF") if f.parent.name in FLIPPED and f.parents[1].name in RIGHT})


def read_tree(path: Path, roots: Sequence[Path], channels: int) -> Stored:
    """Reads the counterfactuals of a result tree. File names are positions in the data set.

    Args: roots: the trees below `path`.
    Source: the code of Jeanneret et al., DiME (core/sample_utils.py, `ImageSaver`) and ACE, which saves the same tree.
    """
    if len(roots) > 1:
        choices = listed([str(root) for root in roots])
        raise ValueError(f"explainer.counterfactuals={path} holds several result trees: choose one of {choices}")
    root, rows = roots[0], {}
    for right, flipped in ((right, flipped) for right in RIGHT for flipped in FLIPPED):
        for file in sorted((root / right / flipped / "CF").glob("*")):
            if file.suffix.lower() not in IMAGE_SUFFIXES or not file.stem.isdigit():
                continue
            if int(file.stem) in rows:
                raise ValueError(f"{root} has several entries for {file.stem}")
            made, said = entry_of_file(file, IMAGES, channels), read_info(file.parents[1] / "Info" / f"{file.stem}.txt")
            goal = {"goal": said["target"]} if "target" in said else {}
            target = int(said["pred"]) if "pred" in said else None
            original = find_original(root, right, file.name)
            rows[int(file.stem)] = Entry(made.shape, made.read, target, goal, original)
    if not rows:
        raise ValueError(f"{root} holds no counterfactuals: expected {root}/<CC|IC>/<CCF|ICF>/CF/0000012.jpg")
    return Stored(rows=rows)


def read_info(path: Path) -> dict[str, float]:
    """The whole numbers that a result tree records for an image: label, pred, target. {} without a file."""
    text = path.read_text() if path.is_file() else ""
    return {name: float(value) for name, value in re.findall(r"^(label|pred|target): (-?\d+)\s*$", text, re.MULTILINE)}


def find_original(root: Path, right: str, name: str) -> Path | None:
    """The explained image of a result tree: <output>/Original/<Correct|Incorrect>/<name>."""
    candidates = (parent / "Original" / RIGHT[right] / name for parent in root.parents)
    return next((file for file in candidates if file.is_file()), None)
