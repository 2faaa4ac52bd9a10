"""Any folder of images: a subfolder per class, optional masks and attributes."""

from __future__ import annotations

import csv
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, get_args

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, Fraction, LocalPath, Natural, OmitDefault, Range
from pomelo_lab.dataset.base import Dataset, Split, split_by_hash
from pomelo_lab.dataset.contents import Contents
from pomelo_lab.dataset.folders import class_folders, images_below, mask_files, name_unpaired, split_folders, subfolders
from pomelo_lab.dataset.image_file import (
    IMAGE_SUFFIXES,
    checked_indices,
    missing_file,
    read_image,
    read_mask,
    to_unit,
    warn_once,
)
from pomelo_lab.types import Batch

LAYOUT = """\
<root>/<class>/<image>.png                (split by a hash of the path), or
<root>/<train|val|test>/<class>/<image>.png
<root>/<masks>/<part>/<path of the image below root>.png    (optional, non-zero = inside; any suffix of images)
<root>/<attributes>.csv                   (optional: file name, then 0/1 or -1/1 per attribute)"""
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(kw_only=True)
class ImageFolder(Dataset):
    """Images in class folders, cut to the centred square and resized; with masks and attributes where files give them.

    Class folders are sorted by name. Where root has a folder train, val or test, those are the splits and share one
    list of classes; otherwise a hash of (seed, path below root) assigns each image, so that an added image moves no
    other. A part without a mask file is absent from that image. A part called "label" is what belongs to the class
    (the region that reasonability metrics compare with).

    Hidden folders and those of tools (@eaDir, __MACOSX) are left out. Refused, with the reason: splits in another
    spelling (Training, valid), class names that differ in case alone, a folder of masks that `masks` does not name, and
    a root above the classes.

    Source: own; the layout of ImageNet and of torchvision's ImageFolder.
    Args:
        root: the folder; fingerprints hold `digest` in its place.
        size_px: side of the image; the shorter side of the file is resized to it, the longer one cropped.
        val_fraction, test_fraction: of the images, where root has no split folders.
        seed: of that split.
        masks: name of the folder of masks below root; None means no masks.
        attributes: name of the csv file below root; rows name a file by its path below root, or by its name alone when
            unique.
        value_range: the values of black and white in gray files of more than 8 bits ([0,4095] for 12 bits in 16,
            [-1000,1000] for floats); None = 0 to 65535, the bits that a TIFF states, or floats from 0 to 1; a file
            whose values do not say which is refused.
        background: the gray behind transparent parts, 0 black to 1 white; None = an image with such parts is refused.
    Raises: FileNotFoundError or ValueError naming the file or folder, for each way in which the layout can be broken.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"label"})

    root: LocalPath
    split: Split = "test"
    size_px: Count = 224
    val_fraction: Annotated[float, Range(low=0, below=1)] = 0.15
    test_fraction: Annotated[float, Range(low=0, below=1)] = 0.15
    seed: Natural = 0
    masks: str | None = None
    attributes: str | None = None
    value_range: Annotated[list[float] | None, OmitDefault()] = None
    background: Annotated[Fraction | None, OmitDefault()] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._folder = Path(self.root).expanduser()
        if not self._folder.is_dir():
            raise missing_file("the folder dataset.root", self._folder, LAYOUT)
        self.provides = self.features(vars(self))
        self._split_folders = split_folders(self._folder, SPLITS, self.masks)
        self._has_split_folders = bool(self._split_folders)
        self.class_names = self._classes()
        self._files = self._list_files(self.split)  # paths below root, sorted; [n] class numbers
        self._label = torch.tensor(
            [self.class_names.index(self._class_of(file)) for file in self._files], dtype=torch.long
        )
        if not self._files:
            raise ValueError(f"split {self.split!r} of {self._folder} holds no images; {self._shares()}")
        self.part_names = self._parts()
        self.attribute_names, self._attribute = self._read_attributes()

    @classmethod
    def features(cls, given: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"label"} | {name for name in ("masks", "attributes") if given.get(name)})

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> list[str]:
        total, values = given["val_fraction"] + given["test_fraction"], given["value_range"]
        problems = [f"val_fraction + test_fraction must be < 1, got {total:g}"] if total >= 1 else []
        if values is not None and (len(values) != 2 or not values[0] < values[1]):
            problems.append(f"value_range must be null or two rising values, black and white, got {values}")
        return problems

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size_px, self.size_px

    def __len__(self) -> int:
        return len(self._files)

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = checked_indices(indices, len(self))
        image = torch.empty(len(rows), *self.shape, dtype=torch.uint8)
        masks = {part: torch.zeros(len(rows), *self.shape[1:], dtype=torch.bool) for part in self.part_names}
        for i, row in enumerate(rows):
            path, meaning = (
                self._folder / self._files[row],
                {"value_range": self.value_range, "background": self.background},
            )
            image[i], box, of_size = read_image(path, self.size_px, **meaning)
            for part, mask in masks.items():
                path = self._mask_path(part, self._files[row])
                if path.exists():
                    mask[i] = read_mask(path, self.size_px, box, of_size)
                    self._name_empty(part, path, mask[i])
        return Batch(
            image=to_unit(image),
            label=self._label[rows],
            image_id=self.image_ids(rows),
            index=torch.tensor(rows, dtype=torch.long),
            masks=masks,
            attributes=None if self._attribute is None else self._attribute[rows],
        )

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._files[row] for row in checked_indices(indices, len(self)))

    def labels(self, indices: Sequence[int]) -> torch.Tensor:
        return self._label[checked_indices(indices, len(self))]

    def read_attributes(self, indices: Sequence[int]) -> torch.Tensor:
        return self._attribute[checked_indices(indices, len(self))]

    def digest(self) -> str:
        """Digest of the sorted paths below root, the contents of this split's images and masks, the class and part
        names and the csv."""
        names = "\n".join("\0".join(given) for given in (self.class_names, self._files, self.part_names))
        total = hashlib.sha256(names.encode(errors="surrogateescape") + self._contents.digest().encode())
        if self.attributes:
            total.update((self._folder / self.attributes).read_bytes())
        return total.hexdigest()[:16]

    @functools.cached_property
    def _contents(self) -> Contents:
        masks = [str(self._mask_path(part, file)) for part in self.part_names for file in self._files]
        return Contents([*(f"{self._folder}/{file}" for file in self._files), *masks])

    def _classes(self) -> tuple[str, ...]:
        if self._has_split_folders and self.split not in self._split_folders:
            raise ValueError(
                f"split {self.split!r}: {self._folder} has split folders, but only {', '.join(self._split_folders)}"
            )
        classes = class_folders(self._folder, self._split_folders, self.masks)
        if not classes:
            top = self._folder / self._split_folders[0] if self._has_split_folders else self._folder
            raise ValueError(f"{top} holds no class folders; expected layout:\n{LAYOUT}")
        return classes

    def _class_of(self, file: str) -> str:
        return file.split("/")[1 if self._has_split_folders else 0]

    def _list_files(self, split: Split) -> list[str]:
        """Sorted paths below root of one split."""
        top = self._folder / split if self._has_split_folders else self._folder
        files: list[str] = []
        for name in self.class_names:
            if not (top / name).is_dir():
                continue  # a class may be absent from one split
            of_class = sorted(images_below(top / name, self._folder))
            if not of_class:
                raise ValueError(
                    f"class folder {top / name} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); "
                    f"remove it or fill it"
                )
            files += of_class
        return files if self._has_split_folders else [file for file in files if self._split_of(file) == split]

    def _split_of(self, file: str) -> Split:
        return split_by_hash(f"{self.seed}:{file}", self.val_fraction, self.test_fraction)

    def split_sizes(self) -> dict[str, int]:
        folders = [name for name in SPLITS if not self._has_split_folders or (self._folder / name).is_dir()]
        return {name: len(self._list_files(name)) for name in folders}

    def _shares(self) -> str:
        if self._has_split_folders:
            return "train, val or test have folders of their own here"
        return (
            f"few images may leave a split empty: raise dataset.val_fraction={self.val_fraction:g} or "
            f"dataset.test_fraction={self.test_fraction:g}, or make folders train, val and test"
        )

    def _mask_path(self, part: str, file: str) -> Path:
        """The path that the mask of an image has if it exists."""
        name = PurePosixPath(file).with_suffix("")
        return self._masks[part].get(str(name)) or self._folder / str(self.masks) / part / f"{name}.png"

    def _name_empty(self, part: str, path: Path, mask: Tensor) -> None:
        if part not in self._named_empty and not mask.any():
            self._named_empty.add(part)
            warn_once(
                f"nothing is inside the mask {path} at {self.size_px} pixels (further ones of {part} are not named)"
            )

    def _parts(self) -> tuple[str, ...]:
        self._masks: dict[str, dict[str, Path]] = {}
        self._named_empty: set[str] = set()
        if not self.masks:
            return ()
        folder = self._folder / self.masks
        if not folder.is_dir():
            raise missing_file("the folder dataset.masks", folder, LAYOUT)
        parts = tuple(subfolders(folder))
        if not parts:
            raise ValueError(f"{folder} holds no folder per part; expected layout:\n{LAYOUT}")
        self._masks = {part: mask_files(folder / part) for part in parts}
        for part in parts:
            if not any(self._mask_path(part, file).exists() for file in self._files):
                example = self._mask_path(part, self._files[0])
                raise ValueError(
                    f"{folder / part} holds no mask of any image of split {self.split!r}; expected for "
                    f"instance {example}"
                )
        name_unpaired(
            folder, self._masks, self._files, {str(PurePosixPath(file).with_suffix("")) for file in self._known_files()}
        )
        return parts

    def _known_files(self) -> list[str]:
        """Paths below root of the images of all splits."""
        return [file for split in self._split_folders or SPLITS for file in self._list_files(split)]

    def _read_attributes(self) -> tuple[tuple[str, ...], Tensor | None]:
        if not self.attributes:
            return (), None
        path = self._folder / self.attributes
        if not path.is_file():
            raise missing_file("the file dataset.attributes", path, LAYOUT)
        by_name: dict[str, list[str]] = {}
        for file in self._known_files():
            by_name.setdefault(PurePosixPath(file).name, []).append(file)
        names, rows = read_csv(path)
        values: dict[str, list[bool]] = {}
        for line, name, row in rows:
            matches = [name] if name in by_name.get(PurePosixPath(name).name, ()) else by_name.get(name, [])
            if len(matches) != 1:
                state = (
                    f"is the name of {len(matches)} images, write the path below root"
                    if matches
                    else "is no image of this folder"
                )
                raise ValueError(f"{path} line {line}: {name!r} {state}")
            values[matches[0]] = row
        for file in self._files:
            if file not in values:
                raise ValueError(f"{path} has no row for the image {file!r}")
        return names, torch.tensor([values[file] for file in self._files], dtype=torch.bool)


def read_csv(path: Path) -> tuple[tuple[str, ...], list[tuple[int, str, list[bool]]]]:
    """Reads a table of file names and 0/1 or -1/1 values: attribute names, then (line, file name, values) per row.

    Raises: ValueError, which names the file and line that cannot be read.
    """
    meaning = {"0": False, "-1": False, "1": True}
    rows: list[tuple[int, str, list[bool]]] = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            if len(header) < 2:
                raise ValueError(
                    f"{path} line 1: expected a header of a file column and attribute names, got {','.join(header)!r}"
                )
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise ValueError(f"{path} line {reader.line_num}: {len(cells)} cells, the header has {len(header)}")
                wrong = next((cell for cell in cells[1:] if cell.strip() not in meaning), None)
                if wrong is not None:
                    raise ValueError(
                        f"{path} line {reader.line_num}: attribute values must be 0/1 or -1/1, got {wrong!r}"
                    )
                rows.append((reader.line_num, cells[0].strip(), [meaning[cell.strip()] for cell in cells[1:]]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a csv file: {error}") from None
    return tuple(name.strip() for name in header[1:]), rows
