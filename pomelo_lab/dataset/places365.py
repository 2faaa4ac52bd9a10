"""Places365 (standard) in its official folders."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pomelo_lab.dataset.cropped_files import CroppedFiles, Listing, stem
from pomelo_lab.dataset.folders import images_below
from pomelo_lab.dataset.image_file import missing_file

SOURCE = "the Places project page, http://places2.csail.mit.edu/download.html"
LAYOUT = """\
easy format, one folder per class:
  <root>/places365_standard/train/airfield/00000001.jpg
  <root>/places365_standard/val/airfield/Places365_val_00000435.jpg
or the plain archives, with lists beside them:
  <root>/categories_places365.txt                        (lines "/a/airfield 0"; optional in the easy format)
  <root>/val_256/Places365_val_00000001.jpg              (or val_large), with <root>/places365_val.txt
  <root>/data_256/a/airfield/00000001.jpg                (or data_large), with <root>/places365_train_standard.txt"""
CATEGORIES = "categories_places365.txt"
LISTS = {"train": "places365_train_standard.txt", "val": "places365_val.txt"}
FOLDERS = {
    "train": ("data_256", "data_256_standard", "data_large", "data_large_standard"),
    "val": ("val_256", "val_large"),
}
OFFICIAL = "Places365_val_"


@dataclass(kw_only=True)
class Places365(CroppedFiles):
    """Photographs of 365 kinds of scenes, prepared as the networks of its authors expect them.

    Classes are numbered as in categories_places365.txt. If the easy format lacks this file, they are numbered by the
    sorted names of its class folders, which is the same order when all 365 exist. If several folders hold the same
    images, the first one is read in the order: easy format, 256 pixels, large. `digest` distinguishes them.

    Source: Zhou et al., "Places: a 10 million image database for scene recognition" (2017). Departures: none known.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"label"})

    def _image_id(self, file: str) -> str:
        name = stem(file)
        return (
            f"places365-{name}"
            if name.startswith(OFFICIAL)
            else f"places365-{category(file.rpartition('/')[0])}/{name}"
        )

    def _list_files(self) -> Listing:
        root, official = Path(self.root), "train" if self.split == "train" else "val"
        tops = [root / "places365_standard", root]
        categories = next((path for top in tops if (path := top / CATEGORIES).is_file()), None)
        number = read_categories(categories, categories.stat().st_mtime_ns) if categories else None
        paths = [*(top / official for top in tops), *(root / name for name in FOLDERS[official])]
        folder = next((path for path in paths if path.is_dir()), None)
        if folder is None:
            raise missing_file(
                f"the {'training' if official == 'train' else 'validation'} images of Places365", paths, LAYOUT, SOURCE
            )
        if folder.name == official:
            number = number or sorted_folders(folder.parent)
            label = in_class_folders(folder, number, categories or folder.parent)
        else:
            wanted = next(
                (path for path in (categories or root / CATEGORIES, root / LISTS[official]) if not path.is_file()), None
            )
            if number is None or wanted is not None:
                raise missing_file(f"a list that {folder.name} of Places365 needs", wanted, LAYOUT, SOURCE)
            label = read_list(root / LISTS[official], (root / LISTS[official]).stat().st_mtime_ns, len(number))
        chosen = {file: class_number for file, class_number in label.items() if self._belongs(file)}
        return Listing(folder, chosen, tuple(sorted(number, key=number.__getitem__)))


def category(path: str) -> str:
    """The name of a class from any of its spellings: "/a/arena/hockey", "arena-hockey" and "arena/hockey" are the
    same."""
    parts = path.strip("/").split("/")
    return "/".join(parts[1:] if len(parts) > 1 and len(parts[0]) == 1 else parts).replace("-", "/")


def sorted_folders(easy: Path) -> dict[str, int]:
    """Class -> number, by the sorted names of the class folders of the training images, else of the validation
    images."""
    folder = next(easy / split for split in ("train", "val") if (easy / split).is_dir())
    return {
        category(name): number
        for number, name in enumerate(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    }


def in_class_folders(folder: Path, number: Mapping[str, int], source: Path) -> dict[str, int]:
    """Path below the folder -> class number of every image.

    Raises: ValueError naming an image whose folder is no class of `source`.
    """
    class_numbers = {}
    for file in sorted(images_below(folder)):
        kind = category(file.rpartition("/")[0])
        if kind not in number:
            raise ValueError(
                f"{folder / file}: {kind!r} is not one of the {len(number)} classes of {source}; expected "
                f"layout:\n{LAYOUT}"
            )
        class_numbers[file] = number[kind]
    return class_numbers


@functools.lru_cache(maxsize=2)
def read_categories(path: Path, mtime_ns: int) -> dict[str, int]:
    """Class -> number, from lines "/a/airfield 0". Raises: ValueError naming the file and line."""
    class_numbers: dict[str, int] = {}
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, number = text.strip().rpartition(" ")
        if text.strip() and (not name or number != str(len(class_numbers))):
            raise ValueError(
                f"{path} line {line}: expected '/a/airfield {len(class_numbers)}', a class and its number, got {text!r}"
            )
        if name:
            class_numbers[category(name)] = len(class_numbers)
    return class_numbers


@functools.lru_cache(maxsize=2)
def read_list(path: Path, mtime_ns: int, n_classes: int) -> dict[str, int]:
    """Path below the folder of images -> class number, from lines "/a/airfield/00000001.jpg 0".

    Raises: ValueError naming file and line.
    """
    class_numbers = {}
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, number = text.strip().rpartition(" ")
        if not text.strip():
            continue
        if not name or not number.isdigit() or int(number) >= n_classes:
            raise ValueError(f"{path} line {line}: expected '<image> <number below {n_classes}>', got {text!r}")
        class_numbers[name.lstrip("/")] = int(number)
    return class_numbers
