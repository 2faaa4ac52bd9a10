"""Data sets of image files that are resized by their shorter side and cropped to the centre, as torchvision's
evaluation transform does."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, LocalPath
from pomelo_lab.dataset.base import Dataset, Split, split_by_hash
from pomelo_lab.dataset.contents import Contents
from pomelo_lab.dataset.image_file import checked_indices, open_mask, open_sized, to_unit
from pomelo_lab.types import Batch

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling


class Crop(NamedTuple):
    """The conversion of a file to an image: it is resized to `width` x `height`, then the square of size_px at
    (left, top) is cropped."""

    width: int
    height: int
    left: int
    top: int
    size_px: int

    @classmethod
    def of(cls, width: int, height: int, resize_px: int, size_px: int) -> Crop:
        """The crop of a file of `width` x `height` pixels, with the rounding of torchvision's Resize and CenterCrop."""
        longer = int(resize_px * max(width, height) / min(width, height))
        to = (resize_px, longer) if width <= height else (longer, resize_px)
        left, top = (round((edge - size_px) / 2) for edge in to)
        return cls(*to, left, top, size_px)

    def cut(self, image: Image, resampling: Resampling) -> np.ndarray:
        """The values of a decoded file inside the square, [size_px,size_px] or [size_px,size_px,C]."""
        resized = image.resize((self.width, self.height), resampling)
        return np.array(resized.crop((self.left, self.top, self.left + self.size_px, self.top + self.size_px)))

    def boxes(self, fractions: Tensor) -> Tensor:
        """Converts boxes in fractions of the file [M,4] to pixels of the cropped image [<=M,4]. They are clipped,
        and empty ones are dropped."""
        scale = torch.tensor([self.width, self.height, self.width, self.height], dtype=torch.float32)
        shift = torch.tensor([self.left, self.top, self.left, self.top], dtype=torch.float32)
        clipped = (fractions.reshape(-1, 4) * scale - shift).clamp(0, self.size_px)
        return clipped[(clipped[:, 2:] > clipped[:, :2]).all(1)]


def read_cropped(path: Path, resize_px: int, size_px: int, mode: str = "RGB") -> tuple[Tensor, Crop, tuple[int, int]]:
    """Decodes a file as RGB or gray (mode L), resizes it (PIL's bilinear, antialiased) and crops it.

    Returns: uint8 [3,size_px,size_px] (gray: [1,...]), the crop, the file's (width, height).
    """
    from PIL.Image import Resampling

    image, full = open_sized(path, mode)
    crop = Crop.of(*full, resize_px, size_px)
    values = torch.from_numpy(crop.cut(image, Resampling.BILINEAR)).reshape(size_px, size_px, -1)
    return values.permute(2, 0, 1).contiguous(), crop, full


def read_cropped_mask(path: Path, crop: Crop, of_size: tuple[int, int]) -> Tensor:
    """Reads the mask file of an image of (width, height) and crops it as the image: bool [size_px,size_px], non-zero =
    inside; nearest neighbour.

    Raises: ValueError when its size differs from the image's.
    """
    from PIL.Image import Resampling

    mask = open_mask(path)
    if mask.size != of_size:
        (w, h), (mw, mh) = of_size, mask.size
        raise ValueError(f"{path} has {mw}x{mh} pixels, its image {w}x{h}: a mask must have the size of its image")
    return torch.from_numpy(crop.cut(mask, Resampling.NEAREST)) > 0


def inside(boxes: Tensor, size_px: int) -> Tensor:
    """The pixels whose centres lie in any box: [B,M,4] with rows of NaN for none -> bool [B,size_px,size_px]."""
    center = torch.arange(size_px) + 0.5
    left, top, right, bottom = (edge[..., None] for edge in boxes.unbind(-1))  # [B,M,1]
    across, down = (center >= left) & (center < right), (center >= top) & (center < bottom)
    return (down[..., :, None] & across[..., None, :]).any(1)


class Listing(NamedTuple):
    """The images of a split: path below `folder` -> class number."""

    folder: Path
    label: dict[str, int]
    class_names: tuple[str, ...]


@dataclass(kw_only=True)
class CroppedFiles(Dataset):
    """Labelled image files of a large public data set whose test labels are secret.

    "train" holds the official training images. "val" and "test" are two disjoint halves of the official validation
    images, so that choices made on one are tested on the other. The half of an image depends only on a hash of its
    name.

    Args:
        root: the folder; fingerprints contain `digest` instead.
        resize_px: the shorter side of a file after resizing, with antialiasing.
        size_px: side of the square that is cropped from the centre.
    Raises: FileNotFoundError (path, layout, source) or ValueError, which names the argument or the file and line.
    """

    mode: ClassVar[str] = "RGB"  # mode in which files are decoded; L = gray

    root: LocalPath
    split: Split = "test"
    resize_px: Count = 256
    size_px: Count = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        self.provides = self.features(vars(self))
        self._folder, label_of, self.class_names = self._list_files()
        self._files = sorted(label_of, key=self._image_id)  # the same order in every layout
        self._label = torch.tensor([label_of[file] for file in self._files], dtype=torch.long)
        if not self._files:
            raise ValueError(f"split {self.split!r} of {self._folder} holds no images")

    @abstractmethod
    def _list_files(self) -> Listing:
        """The files of this split, their labels and the names of the classes."""

    @abstractmethod
    def _image_id(self, file: str) -> str:
        """A unique name of an image that is the same in every folder layout."""

    def _belongs(self, file: str) -> bool:
        """Whether an official training or validation image belongs to this split."""
        return self.split == "train" or split_by_hash(self._image_id(file), 0.5, 0.5) == self.split

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> list[str]:
        resize, size = given["resize_px"] or given["size_px"], given["size_px"]
        return (
            [f"size_px must be <= resize_px, got {size} and {resize}: the crop lies inside the resized image"]
            if size > resize
            else []
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size_px, self.size_px

    def __len__(self) -> int:
        return len(self._files)

    def batch(self, indices: Sequence[int]) -> Batch:
        return self._read(checked_indices(indices, len(self)))[0]

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._image_id(self._files[row]) for row in checked_indices(indices, len(self)))

    def labels(self, indices: Sequence[int]) -> Tensor:
        return self._label[checked_indices(indices, len(self))]

    def digest(self) -> str:
        """Digest of the image ids and labels of this split and the contents of its files."""
        return self._digest(self._label.numpy().tobytes())

    def image_digest(self) -> str:
        """Digest of the image ids of this split and the contents of its files, without labels."""
        return self._digest(b"")

    def _digest(self, labels: bytes) -> str:
        return self._contents.digest_with(map(self._image_id, self._files), labels)

    @functools.cached_property
    def _contents(self) -> Contents:
        return Contents([f"{self._folder}/{file}" for file in self._files])

    def _read(self, rows: Sequence[int]) -> tuple[Batch, list[Crop], list[tuple[int, int]]]:
        """The images, their crops, and the (width, height) of their files."""
        image = torch.empty(len(rows), *self.shape, dtype=torch.uint8)
        crops, sizes = [], []
        for i, row in enumerate(rows):
            image[i], crop, size = read_cropped(
                self._folder / self._files[row], self.resize_px or self.size_px, self.size_px, self.mode
            )
            crops.append(crop)
            sizes.append(size)
        batch = Batch(
            image=to_unit(image),
            label=self._label[rows],
            image_id=self.image_ids(rows),
            index=torch.tensor(rows, dtype=torch.long),
        )
        return batch, crops, sizes


def stem(file: str) -> str:
    """The name of a file without folder and suffix. pathlib is too slow for a million files."""
    return file.rpartition("/")[2].rpartition(".")[0]
