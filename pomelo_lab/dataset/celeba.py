"""CelebA in its original frame, and CelebA-HQ with the part masks of CelebAMask-HQ."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, LocalPath, OmitDefault, OptionalPath
from pomelo_lab.config.signature import MISSING, did_you_mean
from pomelo_lab.dataset.base import Dataset, Split
from pomelo_lab.dataset.celeba_files import (
    ATTRIBUTES,
    CELEBA_LAYOUT,
    CELEBA_SOURCE,
    HQ_LAYOUT,
    HQ_SOURCE,
    MASK_FOLDERS,
    PART_OF_FILE,
    PARTITION,
    folders_below,
    read_attributes,
    read_mapping,
    read_partition,
)
from pomelo_lab.dataset.contents import Contents
from pomelo_lab.dataset.image_file import checked_indices, first_existing, missing_file, read_image, read_mask, to_unit
from pomelo_lab.types import Batch

HAIR = {"blond": "Blond_Hair", "black": "Black_Hair", "gray": "Gray_Hair", "brown": "Brown_Hair", "bald": "Bald"}
HAIR_COLOR = "hair_color"
HAIR_LABELS = frozenset({HAIR_COLOR, *HAIR.values(), "Bangs", "Receding_Hairline", "Straight_Hair", "Wavy_Hair"})
PARTS = (
    "hair",
    "skin",
    "eyes",
    "brows",
    "mouth",
    "nose",
    "glasses",
    "neck",
    "clothes",
    "background",
    "hat",
    "earrings",
)
LAYOUT = CELEBA_LAYOUT  # of root
ALIGNED_WIDTH = 178  # pixels of an aligned image


@dataclass(kw_only=True)
class CelebA(Dataset):
    """Celebrity faces with 40 attributes; the label is the hair colour in five classes, or any one attribute.

    Hair colour follows POMELO: images with none or several of the five attributes are dropped as ambiguous.
    Masks exist only in the HQ frame, another crop of the same photographs. CelebA's partition applies to it too.
    Parts are exclusive (painted in CelebAMask-HQ's own order; ears count as skin, necklace as neck). For labels about
    hair the mask "label" is the annotated hair as it stands.

    Source: Liu et al., "Deep learning face attributes in the wild" (2015); Karras et al. (2018) for CelebA-HQ; Lee et
        al., "MaskGAN" (2020) for the masks. Departures: none known.
    Args:
        root: the CelebA folder (in the HQ frame only its two lists are read); fingerprints hold `digest` in its place.
        label: what the label is: hair_color (five classes), or an attribute such as Smiling or Young (absent, present).
        size_px: side of the image, resized with antialiasing.
        crop_px: centre crop of an aligned image before the resize, in its pixels; None = 178, its whole width.
        frame: "aligned" = img_align_celeba, "hq" = CelebA-HQ-img.
        masks_root: the CelebAMask-HQ folder, for frame "hq" only; its masks may be absent without masked_only.
        masked_only: provide masks, and drop images whose hair mask is missing or empty at size_px; networks learn from
            all images.
        train_frame: frame of the images that networks learn from; None = `frame`. With "aligned" the networks of
            dataset=celeba explain HQ images too: one classifier for all tables, as in POMELO. Statistics of training
            images are those of `frame`.
    Training: classifiers of the hair colour learn from its unambiguous images, generators and attribute networks from
        all.
    Cost:      masked_only decodes each hair mask once, on the first len() or batch() (about 2 ms each).
    Raises:    FileNotFoundError (path, layout, source) or ValueError naming the argument or the file and line.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"label", "attributes"})

    root: LocalPath
    split: Split = "val"
    label: str = HAIR_COLOR
    size_px: Count = 64
    crop_px: Count | None = None
    frame: Literal["aligned", "hq"] = "aligned"
    masks_root: OptionalPath = None
    masked_only: bool = False
    train_frame: Annotated[Literal["aligned", "hq"] | None, OmitDefault()] = None

    attribute_names = ATTRIBUTES

    def __post_init__(self) -> None:
        super().__post_init__()
        self.provides = self.features(vars(self))
        self.class_names = self.classes({"label": self.label})
        self.part_names = PARTS if self.masked_only else ()
        lists = folders_below(Path(self.root), ("", "celeba", "Anno", "Eval", "celeba/Anno", "celeba/Eval"))
        attribute_list, partition_list = (
            first_existing(
                what, [p / f"{stem}.{end}" for p in lists for end in ("txt", "csv")], CELEBA_LAYOUT, CELEBA_SOURCE
            )
            for what, stem in (
                ("the attribute list of CelebA", "list_attr_celeba"),
                ("the partition of CelebA", "list_eval_partition"),
            )
        )
        self._images, names, originals = self._list_files(read_partition(partition_list))
        row_of, table = read_attributes(attribute_list)
        unknown = next((name for name in originals if name not in row_of), None)
        if unknown is not None:
            raise ValueError(f"{attribute_list} has no row for {unknown}, which {partition_list.name} lists")
        values = torch.from_numpy(table[[row_of[name] for name in originals]])
        label, kept = labels(values, self.label)
        self._attribute, self._label = values[kept], label[kept]
        self._names = [names[i] for i in kept.nonzero().flatten().tolist()]
        if not self._names:
            raise ValueError(f"{partition_list}: no image of split {self.split!r} has an unambiguous {self.label}")

    @classmethod
    def features(cls, given: Mapping[str, Any]) -> frozenset[str]:
        return cls.provides | ({"masks"} if given.get("masked_only") else set())

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> list[str]:
        problems = []
        label, hq = given["label"], given["frame"] == "hq"
        if label not in (HAIR_COLOR, *ATTRIBUTES):
            near = did_you_mean(label, (HAIR_COLOR, *ATTRIBUTES))
            problems.append(f"label must be {HAIR_COLOR} or one of CelebA's 40 attributes, got {label!r}{near}")
        if hq and given["masks_root"] in (None, MISSING):
            problems.append("masks_root is missing: frame 'hq' reads its images from the CelebAMask-HQ folder")
        if hq and given["crop_px"] is not None:
            problems.append(
                f"crop_px must be null with frame 'hq' (its images are square already), got {given['crop_px']}"
            )
        if given["train_frame"] == "hq" and given["masks_root"] in (None, MISSING):
            problems.append("masks_root is missing: train_frame 'hq' reads its images from the CelebAMask-HQ folder")
        for name in ("masks_root", "masked_only"):
            if not hq and given[name]:
                problems.append(
                    f"{name} needs frame: hq, got frame 'aligned': the masks of CelebAMask-HQ do not fit "
                    f"the aligned images"
                )
        return problems

    @classmethod
    def classes(cls, given: Mapping[str, Any]) -> tuple[str, ...]:
        label = given.get("label", HAIR_COLOR)
        return tuple(HAIR) if label == HAIR_COLOR else (f"not {label}", label)

    @classmethod
    def label_arguments(cls, given: Mapping[str, Any]) -> tuple[str, ...]:
        return () if given.get("label", HAIR_COLOR) == HAIR_COLOR else ("label",)  # hair colour drops ambiguous images

    @classmethod
    def training_arguments(cls, given: Mapping[str, Any], labelled: bool) -> dict[str, Any]:
        """Selects all images of the frame for training, with or without masks. Networks without labels also use
        images of ambiguous hair colour."""
        changed: dict[str, Any] = {"masked_only": False, "train_frame": None}
        changed["frame"] = given["train_frame"] or given["frame"]
        if changed["frame"] == "aligned":
            changed |= {"masks_root": None, "crop_px": given["crop_px"] or ALIGNED_WIDTH}
        else:
            changed["crop_px"] = None
        if not labelled and given["label"] == HAIR_COLOR:
            changed["label"] = ATTRIBUTES[0]  # any attribute as label keeps all images
        return changed

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size_px, self.size_px

    def __len__(self) -> int:
        return len(self._kept_indices)

    def batch(self, indices: Sequence[int]) -> Batch:
        rows, inner = checked_indices(indices, len(self)), self._positions(indices)
        names = [self._names[i] for i in inner.tolist()]
        image = torch.empty(len(rows), *self.shape, dtype=torch.uint8)
        for row, name in enumerate(names):
            image[row] = read_image(self._images / f"{name}.jpg", self.size_px, self.crop_px)[0]
        return Batch(
            image=to_unit(image),
            label=self._label[inner],
            image_id=self.image_ids(rows),
            index=torch.tensor(rows, dtype=torch.long),
            masks=self._masks(names) if self.masked_only else {},
            attributes=self._attribute[inner],
        )

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        return tuple(f"celeba-{self.frame}-{self._names[i]}" for i in self._positions(indices).tolist())

    def _positions(self, indices: Sequence[int]) -> Tensor:
        """Positions of images in the list of unambiguous images: int64 [B]."""
        return self._kept_indices[torch.tensor(checked_indices(indices, len(self)), dtype=torch.long)]

    def labels(self, indices: Sequence[int]) -> torch.Tensor:
        return self._label[self._positions(indices)]

    def read_attributes(self, indices: Sequence[int]) -> torch.Tensor:
        return self._attribute[self._positions(indices)]

    def digest(self) -> str:
        """Digest of the names, labels and attributes of this split and the contents of its images and masks."""
        return self._contents.digest_with(self._names, self._label.numpy().tobytes() + self._attribute_bytes)

    def attribute_digest(self) -> str:
        """Digest of the names and attributes of this split and the contents of its images and masks, without labels."""
        return self._contents.digest_with(self._names, self._attribute_bytes)

    def image_digest(self) -> str:
        """Digest of the names of this split and the contents of its images and masks, without labels and attributes."""
        return self._contents.digest_with(self._names)

    @property
    def _attribute_bytes(self) -> bytes:
        return np.packbits(self._attribute.numpy()).tobytes()

    @functools.cached_property
    def _contents(self) -> Contents:
        masks = (
            [str(mask_file(self._masks_folder, name, part)) for name in self._names for part in PART_OF_FILE]
            if self.masked_only
            else []
        )
        return Contents([*(f"{self._images}/{name}.jpg" for name in self._names), *masks])

    def _list_files(self, partition: Mapping[str, int]) -> tuple[Path, list[str], list[str]]:
        """The folder of images, the names of this split's images without suffix, and their file names in CelebA."""
        wanted = PARTITION[self.split]
        if self.frame == "aligned":
            folders = [
                p / "img_align_celeba"
                for p in folders_below(Path(self.root), ("img_align_celeba", "", "celeba", "Img", "celeba/Img"))
            ]
            folder = first_existing("the images of CelebA", folders, CELEBA_LAYOUT, CELEBA_SOURCE)
            originals = sorted(name for name, part in partition.items() if part == wanted)
            return folder, [name.rpartition(".")[0] for name in originals], originals

        def of_hq(what: str, name: str) -> Path:
            tops = folders_below(Path(str(self.masks_root)), ("", "CelebAMask-HQ"))
            return first_existing(what, [top / name for top in tops], HQ_LAYOUT, HQ_SOURCE)

        mapping = of_hq("the CelebA-HQ mapping", "CelebA-HQ-to-CelebA-mapping.txt")
        folder = of_hq("the images of CelebA-HQ", "CelebA-HQ-img")
        if self.masked_only:
            self._masks_folder = of_hq("the masks of CelebAMask-HQ", "CelebAMask-HQ-mask-anno")
        numbered = [
            (number, name) for number, name in sorted(read_mapping(mapping).items()) if partition.get(name) == wanted
        ]
        return folder, [str(number) for number, _ in numbered], [name for _, name in numbered]

    @functools.cached_property
    def _kept_indices(self) -> Tensor:
        """Indices of the images of the data set, in the list of unambiguous images: int64 [n]."""
        if not self.masked_only:
            return torch.arange(len(self._names))
        kept = (
            torch.tensor(with_hair(self._masks_folder, tuple(self._names), self.size_px), dtype=torch.bool)
            .nonzero()
            .flatten()
        )
        if not len(kept):
            example = mask_file(self._masks_folder, self._names[0], "hair")
            raise missing_file(
                f"a non-empty hair mask of any image of split {self.split!r}", example, HQ_LAYOUT, HQ_SOURCE
            )
        return kept

    def _masks(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Masks by the name of their part, bool [B,H,W]: the exclusive parts, and "label" for labels about hair."""
        part = torch.full((len(names), self.size_px, self.size_px), PARTS.index("background"), dtype=torch.uint8)
        hair = torch.zeros(part.shape, dtype=torch.bool)
        for row, name in enumerate(names):
            for of_file, of_part in PART_OF_FILE.items():  # later files paint over earlier ones
                path = mask_file(self._masks_folder, name, of_file)
                if path.exists():  # invisible parts have no file
                    mask = read_mask(path, self.size_px)
                    part[row][mask] = PARTS.index(of_part)
                    if of_file == "hair":
                        hair[row] = mask
        masks = {name: part == number for number, name in enumerate(PARTS)}
        return {**masks, "label": hair} if self.label in HAIR_LABELS else masks


def labels(attributes: Tensor, label: str) -> tuple[Tensor, Tensor]:
    """The class of each image, int64 [n], and whether it has a class, bool [n], from its attributes, bool [n,40].

    Images with none or several of the hair attributes have no hair colour. With an attribute as label every image has a
    class.
    """
    if label != HAIR_COLOR:
        return attributes[:, ATTRIBUTES.index(label)].long(), torch.ones(len(attributes), dtype=torch.bool)
    of_hair = attributes[:, [ATTRIBUTES.index(name) for name in HAIR.values()]]
    return of_hair.long().argmax(1), of_hair.sum(1) == 1


def mask_file(folder: Path, name: str, part: str) -> Path:
    """The path of the mask of one part of an image. CelebAMask-HQ has 2000 images per folder: 3/06012_hair.png."""
    return folder / str(int(name) // (30000 // MASK_FOLDERS)) / f"{int(name):05d}_{part}.png"


@functools.lru_cache(maxsize=8)
def with_hair(folder: Path, names: tuple[str, ...], size_px: int) -> tuple[bool, ...]:
    """Whether each image has a hair mask that is not empty at size_px."""
    files = (mask_file(folder, name, "hair") for name in names)
    return tuple(path.exists() and bool(read_mask(path, size_px).any()) for path in files)
