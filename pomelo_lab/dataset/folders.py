"""Rules that classify the folders below a root as splits, classes, or parts of masks. Folders that fit no rule are
reported."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

from pomelo_lab.dataset.image_file import IMAGE_SUFFIXES, warn_once

# in any case
TOOL_FOLDERS = frozenset({"@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "system volume information"})
SPLITS = {"train": "train training", "val": "val valid validate validation", "test": "test testing"}
SPLIT_WORDS = {word: split for split, words in SPLITS.items() for word in words.split()}
NO_CLASSES = (
    "image img picture photo jpegimage label annotation mask segmentation trimap groundtruth ground_truth gt "
    "bbox box xml json"
)
ALSO_CLASSES = {"dev": "val", "eval": "test", "evaluation": "test"}  # splits only if no other folders exist


def subfolders(folder: Path, name_tools: bool = False) -> list[str]:
    """The sorted names of the folders in a folder, without hidden folders and those that tools create.

    Args: name_tools: warn about the omitted folders of tools.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    tools = [name for name in names if name.lower() in TOOL_FOLDERS]
    if tools and name_tools:
        warn_once(f"{folder}: {', '.join(tools)} left out (made by a tool)")
    return [checked_name(name, folder) for name in names if name not in tools]


def checked_name(name: str, folder: Path | str) -> str:
    """Checks that the name of a file or folder can be printed in tables and result files, and returns it.

    Raises: ValueError when it is not UTF-8 or has control characters.
    """
    if name.isascii() and name.isprintable():
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        text = (
            f"{folder}: the name {os.fsencode(name)!r} is not UTF-8: rename it (for a whole folder: convmv -r -f "
            f"latin1 -t utf8 --notest)"
        )
        raise ValueError(text) from None
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError(f"{folder}: the name {name!a} has control characters: rename it")
    return name


def images_below(folder: Path, root: Path | None = None) -> Iterator[str]:
    """Paths below root (None: the folder), with "/", of the image files anywhere in a folder. Hidden files and
    folders, and those that tools create, are omitted."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name.lower() not in TOOL_FOLDERS]
        below = Path(parent).relative_to(root or folder).as_posix()
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                checked_name(name, parent)
                yield name if below == "." else f"{below}/{name}"


def split_folders(root: Path, splits: Sequence[str], masks: str | None) -> tuple[str, ...]:
    """Names of the split folders of root; empty where images are split by a hash.

    Raises: ValueError for splits in another spelling ("Training", "valid"), which would otherwise be read as classes.
    """
    names = [name for name in subfolders(root, name_tools=True) if not masks or name != PurePosixPath(masks).parts[0]]
    words = SPLIT_WORDS | (ALSO_CLASSES if all(name.lower() in SPLIT_WORDS | ALSO_CLASSES for name in names) else {})
    if other := [name for name in names if name not in splits and name.lower() in words]:
        right = ", ".join(f"{name} to {words[name.lower()]}" for name in other)
        raise ValueError(
            f"{root} has folders that look like splits, whose names are {', '.join(splits)}: rename {right}"
        )
    present = tuple(name for name in splits if name in names)
    if present and (others := [name for name in names if name not in splits and next(images_below(root / name), None)]):
        warn_once(
            f"{root}: {', '.join(others)} beside the splits left out (a folder of masks is read with "
            f"dataset.masks=<name>)"
        )
    return present


def class_folders(root: Path, splits: Sequence[str], masks: str | None) -> tuple[str, ...]:
    """The sorted names of the classes: the folders below all splits, or below root.

    Raises: ValueError for names that differ only in case, for a folder of masks that dataset.masks does not name, and
        for a root one level above the classes.
    """
    skipped = () if splits or not masks else (PurePosixPath(masks).parts[0],)
    tops = [root / split for split in splits] or [root]
    by_top = {top: [name for name in subfolders(top, name_tools=True) if name not in skipped] for top in tops}
    names = tuple(sorted({name for folders in by_top.values() for name in folders}))
    for name in names:
        if twins := [other for other in names if other != name and other.casefold() == name.casefold()]:
            raise ValueError(
                f"{root}: the classes {name} and {twins[0]} differ in case alone: rename one of the folders"
            )
    if (
        not splits
        and not masks
        and (forgotten := next((name for name in names if holds_parts(root / name, set(names) - {name})), None))
    ):
        raise ValueError(
            f"{root / forgotten} looks like a folder of masks: say dataset.masks={forgotten}, or move it away"
        )
    if len(names) == 1 and (inner := inner_folders([top / names[0] for top in tops if (top / names[0]).is_dir()])):
        text = f"{root} has one class folder, {names[0]}, which holds {', '.join(inner)} and no images"
        raise ValueError(f"{text}: is dataset.root one level too high?")
    if doubt := doubt_classes(names, [top / name for top in tops for name in names]):
        warn_once(
            f"{root}: the folders {join_names(names)} are taken as the classes, although {doubt}; expected is a "
            f"folder per class"
        )
    lacking = {top.name: [name for name in names if name not in folders] for top, folders in by_top.items()}
    if any(lacking.values()):
        text = "; ".join(f"{split} has no {', '.join(absent)}" for split, absent in lacking.items() if absent)
        warn_once(f"{root}: not every class is in every split: {text}")
    return names


def doubt_classes(names: Sequence[str], folders: Sequence[Path]) -> str:
    """The reason to doubt that folders are classes, worded to follow "although"; "" for no doubt.

    A doubt is a warning, not an error. A pair of names such as "mask" and "no mask" raises none.
    """
    words, lower = set(NO_CLASSES.split()), [name.lower() for name in names]
    kinds = [name for name in names if name.lower() in words or name.lower().removesuffix("s") in words]
    if kinds := [name for name in kinds if not any(name.lower() in other for other in lower if other != name.lower())]:
        verb = "names" if len(kinds) == 1 else "name"
        return (
            f"{join_names(kinds)} often {verb} parts of a data set (masks beside the class folders are read with "
            f"dataset.masks=<name>)"
        )
    numbered = [name for name in names if re.fullmatch(r"(cv|fold|part|split|batch)[ _-]?\d+", name, re.IGNORECASE)]
    if len(numbered) == len(names) and (inner := inner_folders([folder for folder in folders if folder.is_dir()])):
        return (
            f"they are numbered and hold {join_names(inner)} and no images (folders of splits are called train, val "
            f"and test)"
        )
    return ""


def join_names(names: Sequence[str], most: int = 6) -> str:
    """Joins the first names of a list for a message."""
    return ", ".join(names[:most]) + (f", ... ({len(names)})" if len(names) > most else "")


def holds_parts(folder: Path, classes: Collection[str]) -> bool:
    """Whether a folder has the layout of masks: <part>/<class>."""
    return any(classes.intersection(subfolders(folder / part)) for part in subfolders(folder))


def inner_folders(folders: Sequence[Path]) -> list[str]:
    """Names of the folders inside folders that hold no images; empty where one of them holds an image."""
    if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for folder in folders for name in os.listdir(folder)):
        return []
    return sorted({name for folder in folders for name in subfolders(folder)})


def mask_files(folder: Path) -> dict[str, Path]:
    """The mask files of one part: path of the image below root, without its suffix -> path of the mask.

    Raises: ValueError for two masks of one image.
    """
    paths: dict[str, Path] = {}
    for path in images_below(folder):
        name = str(PurePosixPath(path).with_suffix(""))
        if name in paths:
            raise ValueError(
                f"{folder} holds two masks of one image, {paths[name].name} and {PurePosixPath(path).name}: keep one"
            )
        paths[name] = folder / path
    return paths


def name_unpaired(
    folder: Path, parts: dict[str, dict[str, Path]], files: Sequence[str], known: Collection[str]
) -> None:
    """Warns once about images without a mask of a part, and about masks without an image.

    Args:
        files: images of the split.
        known: paths of the images of all splits without their suffixes.
    """
    absent = {
        part: [file for file in files if str(PurePosixPath(file).with_suffix("")) not in masks]
        for part, masks in parts.items()
    }
    if lines := [
        f"{part} of {len(names)} of {len(files)} images ({names[0]})" for part, names in absent.items() if names
    ]:
        warn_once(f"{folder} has no mask of {', '.join(lines)}: the part is absent there")
    if orphans := [str(path) for masks in parts.values() for name, path in masks.items() if name not in known]:
        warn_once(f"{folder}: {len(orphans)} masks belong to no image, for instance {orphans[0]}")
