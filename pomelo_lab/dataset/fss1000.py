"""FSS-1000: photographs of a thousand kinds of objects, each with the object's mask."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count
from pomelo_lab.dataset.contents import Contents
from pomelo_lab.dataset.cropped_files import Crop, CroppedFiles, Listing, stem
from pomelo_lab.dataset.folders import images_below
from pomelo_lab.dataset.image_file import checked_indices, missing_file, open_image
from pomelo_lab.types import Batch

SOURCE = "https://github.com/HKUSTCV/FSS-1000"
LAYOUT = """\
  <root>/fewshot_data/abacus/1.jpg ... 10.jpg (or <root>/fewshot_data/fewshot_data, or class folders in <root> itself)
  <root>/fewshot_data/abacus/1.png ... 10.png   (the masks: white = the thing)"""
FOLDERS = ("fewshot_data/fewshot_data", "fewshot_data", "")
LAST = {"train": 5, "val": 7, "test": 10}  # number of the last image of each class in a split
INSIDE = 127  # of 255


@dataclass(kw_only=True)
class FSS1000(CroppedFiles):
    """Ten photographs of each of 1,000 kinds of objects, with exact masks. The label is the kind, numbered by name.

    The official task splits classes. For explanations every split has all classes: images 1 to 5 of each are "train", 6
    and 7 "val", 8 to 10 "test". With target=predicted a classifier of other classes (ImageNet's) can be explained.

    Source: Li et al., "FSS-1000: a 1000-class dataset for few-shot segmentation" (2020); the Fisher/SDE paper, section
        4.3. Departures: none known.
    Args: root, resize_px, size_px: see CroppedFiles; the files have 224 x 224 pixels.
    Shapes: masks: "label", bool [B,size_px,size_px].
    Raises: ValueError when an image is read whose mask is missing or has another shape. The message names the mask.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"label", "masks"})
    part_names: ClassVar[tuple[str, ...]] = ("label",)

    resize_px: Count = 224

    def _image_id(self, file: str) -> str:
        folder = file.rpartition("/")[0]
        return f"fss1000-{folder}/{int(stem(file)):02d}"

    def _list_files(self) -> Listing:
        folders = [Path(self.root, name) if name else Path(self.root) for name in FOLDERS]
        folder = next((path for path in folders if path.is_dir() and any(path.glob("*/1.jpg"))), None)
        if folder is None:
            raise missing_file("the images of FSS-1000", folders, LAYOUT, SOURCE)
        names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        number = {name: index for index, name in enumerate(names)}
        first = {"train": 1, "val": LAST["train"] + 1, "test": LAST["val"] + 1}[self.split]
        chosen = {}
        for file in images_below(folder):
            kind, _, name = file.rpartition("/")
            index = stem(name)
            if (
                kind in number
                and name.lower().endswith((".jpg", ".jpeg"))
                and index.isdigit()
                and first <= int(index) <= LAST[self.split]
            ):
                chosen[file] = number[kind]
        return Listing(folder, chosen, tuple(names))

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = checked_indices(indices, len(self))
        batch, crops, sizes = self._read(rows)
        masks = torch.zeros(len(rows), *self.shape[1:], dtype=torch.bool)
        for i, row in enumerate(rows):
            masks[i] = self._mask((self._folder / self._files[row]).with_suffix(".png"), crops[i], sizes[i])
        return Batch(batch.image, batch.label, batch.image_id, batch.index, masks={"label": masks})

    def unmasked(self, indices: Sequence[int]) -> Batch:
        return self._read(checked_indices(indices, len(self)))[0]

    def digest(self) -> str:
        """Digest of the image ids, labels and file contents of this split, masks included."""
        return hashlib.sha256(f"{super().digest()} {self._masks.digest()}".encode()).hexdigest()[:16]

    @functools.cached_property
    def _masks(self) -> Contents:
        return Contents([str((self._folder / file).with_suffix(".png")) for file in self._files])

    def _mask(self, path: Path, crop: Crop, size: tuple[int, int]) -> Tensor:
        from PIL.Image import Resampling

        if not path.is_file():
            raise ValueError(f"there is no mask {path}; expected layout:\n{LAYOUT}")
        mask = open_image(path, "L")
        if mask.size != size:
            sizes = "{}x{} pixels, its image {}x{}".format(*mask.size, *size)
            raise ValueError(f"{path} has {sizes}: a mask must have the shape of its image")
        return torch.from_numpy(crop.cut(mask, Resampling.NEAREST)) > INSIDE
