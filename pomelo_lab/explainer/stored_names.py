"""Finds the stored map or image of each image of a data set."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath

from pomelo_lab.dataset.base import Dataset
from pomelo_lab.dataset.image_file import IMAGE_SUFFIXES
from pomelo_lab.explainer.stored_files import Entry, Stored, listed


def names_of(image_id: str) -> tuple[str, ...]:
    """The names under which files may store what belongs to an image.

    These are its id, without the suffix of an image file, and both with _ in place of /. An image that is drawn twice
    (a.jpg#2) has those of the image too.
    """
    drawn = re.sub(r"#\d+$", "", image_id)
    return own_names(image_id) if drawn == image_id else (*own_names(image_id), *own_names(drawn))


def own_names(name: str) -> tuple[str, ...]:
    """A name and its variants."""
    path = PurePosixPath(name)
    short = str(path.with_suffix("")) if path.suffix.lower() in IMAGE_SUFFIXES else name
    return tuple(dict.fromkeys(text for plain in (name, short) for text in (plain, plain.replace("/", "_"))))


def find_entry(stored: Stored, image_id: str, position: int) -> Entry | None:
    """What belongs to an image. None when there is nothing.

    Args: position: of the image in the data set.
    """
    if stored.rows:
        return stored.rows.get(position)
    return next((stored.named[name] for name in names_of(image_id) if name in stored.named), None)


def name_problems(stored: Stored, images: Mapping[str, int], dataset: Dataset) -> list[str]:
    """What is wrong with the names of a file, in words, with all names.

    Args: images: the names of the job's images, with their positions in the data set.
    """
    problems = []
    if missing := [name for name, position in images.items() if find_entry(stored, name, position) is None]:
        n = f"all {len(images)}" if len(missing) == len(images) else f"{len(missing)} of the {len(images)}"
        problems.append(f"nothing for {n} images of the job: {listed(missing)}")
    if stored.rows:
        return problems + row_problems(stored, len(dataset), dataset.split)
    for name in images:
        keys = [key for key in own_names(name) if key in stored.named]
        if len(keys) > 1:
            problems.append(f"several entries for image {name}: {', '.join(keys)}")
    ids = dataset.image_ids(range(len(dataset)))
    owners = Counter(key for name in ids for key in own_names(name) if key in stored.named)
    if shared := [key for key, n in owners.items() if n > 1]:
        problems.append(f"entries whose names stand for several images: {listed(shared)}")
    unknown = set(stored.named) - set(owners) - {key for name in images for key in names_of(name)}
    if unknown and (unknown := unknown - names_of_splits(dataset)):
        example = f"; names are image ids, such as {ids[0]}" if ids else ""
        problems.append(f"entries of no image of the data set: {listed(sorted(unknown))}{example}")
    return problems


def row_problems(stored: Stored, n: int, split: str) -> list[str]:
    """What is wrong with entries that have positions in the data set instead of names.

    Args: n, split: the size and the name of the data set's split.
    """
    if stored.whole and len(stored.rows) != n:
        return [f"{len(stored.rows)} entries without ids, split {split} has {n} images: give each its image id (ids)"]
    if beyond := [str(row) for row in stored.rows if row >= n]:
        return [f"entries of no image of the data set, whose split {split} has {n}: {listed(beyond)}"]
    return []


def names_of_splits(dataset: Dataset) -> set[str]:
    """The names of the images of a data set's other splits, as far as these are known."""
    others = (dataset.at(split) for split in dataset.split_sizes() if split != dataset.split)
    return {key for other in others for name in other.image_ids(range(len(other))) for key in own_names(name)}


def size_problems(entries: Mapping[str, Entry | None], shape: tuple[int, ...]) -> list[str]:
    """The entries that have not the shape of the images, as at most one text. None stands for a missing entry."""
    wrong = [f"{name} {list(entry.shape)}" for name, entry in entries.items() if entry and entry.shape != shape]
    return [f"of another size than {list(shape)}: {listed(wrong)}"] if wrong else []
