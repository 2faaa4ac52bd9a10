"""ImageNet (ILSVRC2012) in its official folders or Kaggle's, with the boxes of its localization task."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import OmitDefault, OptionalPath
from pomelo_lab.dataset.contents import Contents
from pomelo_lab.dataset.cropped_files import CroppedFiles, Listing, inside, read_cropped_mask, stem
from pomelo_lab.dataset.folders import images_below
from pomelo_lab.dataset.image_file import checked_indices, first_existing, missing_file
from pomelo_lab.dataset.imagenet_files import (
    BOX_LAYOUT,
    CLASSES_FROM,
    LAYOUT,
    MASK_LAYOUT,
    SOURCE,
    WNID,
    Annotation,
    names_in_boxes,
    read_annotation,
    read_devkit,
    read_mapping,
    read_solution,
)
from pomelo_lab.types import Batch


@dataclass(kw_only=True)
class ImageNet(CroppedFiles):
    """Photographs of 1000 kinds of objects, prepared as torchvision's networks expect them.

    Classes are the sorted WordNet ids of LOC_synset_mapping.txt, otherwise of the train folder, otherwise of the
    validation images: the official index 0..999. A box belongs to the part "label" when it has the image's wnid. It is
    resized and cropped with the image. All validation images have boxes, and about 4 in 10 training images.

    Source: Russakovsky et al., "ImageNet large scale visual recognition challenge" (2015); the transform is
        torchvision's. Departures: the edges of a box are read as positions between pixels. Read as the numbers of its
        outermost pixels, the box would be one pixel wider.
    Args:
        boxes: provide boxes; their files must then exist, except those of the training images.
        boxes_root: folder of the annotation files; None = below root. Not part of fingerprints.
        masks: provide masks of the part "label": "boxes" = all pixels inside the image's boxes, or a folder with
            <image>.png (or <wnid>/<image>.png), of the file's size, non-zero = inside, as a segmentation network writes
            them; images without a file have an empty mask. None = no masks.
        only_classes: only images of these classes, by their number (0..999) or wnid; the classifier's answers keep all
            classes. None = all.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"label"})

    boxes: bool = True
    boxes_root: OptionalPath = None
    masks: OptionalPath = None
    only_classes: Annotated[list[int | str] | None, OmitDefault()] = None

    @classmethod
    def features(cls, given: Mapping[str, Any]) -> frozenset[str]:
        asked = {"boxes": given.get("boxes", True), "masks": given.get("masks") is not None}
        return frozenset({"label", *(name for name, wanted in asked.items() if wanted)})

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> list[str]:
        problems = super().config_problems(given)
        return (
            [*problems, "masks=boxes needs boxes=true, got false"]
            if given["masks"] == "boxes" and not given["boxes"]
            else problems
        )

    def batch(self, indices: Sequence[int]) -> Batch:
        if not self.boxes and self.masks is None:
            return self.unmasked(indices)
        batch, crops, sizes = self._read(checked_indices(indices, len(self)))
        rows = batch.index.tolist()
        if self.boxes:
            cut = []
            for row, crop, size in zip(rows, crops, sizes, strict=True):
                path = self._box_file(self._files[row])
                cut.append(
                    crop.boxes(self._label_boxes(row, read_annotation(path), size)) if path else torch.empty(0, 4)
                )
            padded = torch.full((len(cut), max([1, *map(len, cut)]), 4), torch.nan)
            for row, boxes in enumerate(cut):
                padded[row, : len(boxes)] = boxes
            batch = replace(batch, boxes={"label": padded})
        if self.masks == "boxes":
            batch = replace(batch, masks={"label": inside(batch.boxes["label"], self.size_px)})
        elif self.masks is not None:
            masks = torch.zeros(len(rows), self.size_px, self.size_px, dtype=torch.bool)
            for position, (row, crop, size) in enumerate(zip(rows, crops, sizes, strict=True)):
                if path := self._mask_file(self._files[row]):
                    masks[position] = read_cropped_mask(path, crop, size)
            batch = replace(batch, masks={"label": masks})
        return batch

    def unmasked(self, indices: Sequence[int]) -> Batch:
        return super().batch(indices)

    def digest(self) -> str:
        """Digest of the image ids, labels and file contents of this split, and of its annotation and mask files where
        boxes and masks are provided.
        """
        if not self.boxes and self.masks is None:
            return super().digest()
        given = (
            f"boxes={self.boxes} masks={self.masks if self.masks in (None, 'boxes') else 'files'} "
            f"{self._beside.digest()}"
        )
        return hashlib.sha256(f"{super().digest()} {given}".encode()).hexdigest()[:16]

    @functools.cached_property
    def _beside(self) -> Contents:
        """The annotation and mask files of the images."""
        boxes = [self._box_file(file) for file in self._files] if self.boxes else []
        masks = [self._mask_file(file) for file in self._files] if self.masks not in (None, "boxes") else []
        return Contents([str(path or "") for path in (*boxes, *masks)])

    def _image_id(self, file: str) -> str:
        return f"imagenet-{stem(file)}"

    def _label_boxes(self, row: int, annotation: Annotation, size: tuple[int, int]) -> Tensor:
        """The boxes that have the image's wnid, in fractions of the image [M,4]."""
        width, height = annotation.size or size
        matching = [name == self._wnids[int(self._label[row])] for name in annotation.names]
        return annotation.edges[matching] / torch.tensor([width, height, width, height], dtype=torch.float32)

    def _tops(self) -> list[Path]:
        root = Path(self.root)
        return [root, root / "ILSVRC"]  # Kaggle's archive has the images in ILSVRC and its lists next to it

    def _list_file(self, name: str) -> Path | None:
        root = Path(self.root)
        tops = [*self._tops(), *([root.parent] if root.name == "ILSVRC" else [])]
        paths = [top / folder / name for top in tops for folder in ("", "ILSVRC2012_devkit_t12/data", "data")]
        return next((path for path in paths if path.is_file()), None)

    def _images(self, official: str) -> list[Path]:
        return [top / folder / official for top in self._tops() for folder in ("", "Data/CLS-LOC")]

    def _box_folders(self, official: str) -> list[Path]:
        """Folders that may hold the annotation files of the official split "train" or "val"."""
        if self.boxes_root is not None:
            tops, folders = [Path(self.boxes_root)], (official, f"Annotations/CLS-LOC/{official}", "")
        else:
            tops, folders = (
                self._tops(),
                (f"Annotations/CLS-LOC/{official}", f"{official}_boxes", f"{official}_boxes/{official}"),
            )
        return [top / folder for top in tops for folder in folders]

    def _box_file(self, file: str) -> Path | None:
        """The annotation of an image. It may lie in the folder of its class."""
        for folder in (file.rpartition("/")[0], ""):
            if self._annotations is not None and (path := self._annotations / folder / f"{stem(file)}.xml").is_file():
                return path
        return None

    def _mask_file(self, file: str) -> Path | None:
        """The mask of an image. It may lie in the folder of its class."""
        paths = (Path(self.masks, folder, f"{stem(file)}.png") for folder in (file.rpartition("/")[0], ""))
        return next((path for path in paths if path.is_file()), None)

    def _select_classes(self, wnids: Sequence[str]) -> set[str]:
        """The wnids of `only_classes`. Raises: ValueError for an unknown number or wnid."""
        if self.only_classes is None:
            return set(wnids)
        unknown = [c for c in self.only_classes if (c not in wnids if isinstance(c, str) else not 0 <= c < len(wnids))]
        if unknown:
            raise ValueError(
                f"dataset.only_classes must be numbers below {len(wnids)} or known wnids, got "
                f"{unknown[0]!r}; {CLASSES_FROM}"
            )
        return {c if isinstance(c, str) else wnids[c] for c in self.only_classes}

    def _list_files(self) -> Listing:
        official = "train" if self.split == "train" else "val"
        what = f"the {'training' if official == 'train' else 'validation'} images of ImageNet"
        folder = first_existing(what, self._images(official), LAYOUT, SOURCE)
        self._annotations = next((path for path in self._box_folders(official) if path.is_dir()), None)
        if self.boxes and official == "val" and self._annotations is None:
            wanted = "the boxes of ImageNet's validation images (dataset.boxes=false does without)"
            raise missing_file(wanted, self._box_folders(official), BOX_LAYOUT, SOURCE)
        files = sorted(images_below(folder))
        if not files:
            raise missing_file(what, folder, LAYOUT, SOURCE)
        wnid_of = (
            self._classes_of_folders(folder, files)
            if official == "train" or "/" in files[0]
            else self._classes_of_list(files)
        )
        names = self._classes(wnid_of.values())
        self._wnids = tuple(sorted(names))
        number = {wnid: index for index, wnid in enumerate(self._wnids)}
        chosen = [file for file in files if self._belongs(file)]
        for file in chosen:
            if wnid_of[file] not in number:
                raise ValueError(
                    f"{folder / file} is of class {wnid_of[file]}, not one of the {len(number)} known; {CLASSES_FROM}"
                )
        wanted_classes = self._select_classes(self._wnids)
        chosen = [file for file in chosen if wnid_of[file] in wanted_classes]
        if self.boxes and official == "val" and chosen and not any(map(self._box_file, chosen)):
            wanted = f"a box of any image of split {self.split!r} (dataset.boxes=false does without)"
            raise missing_file(wanted, self._annotations / f"{stem(chosen[0])}.xml", BOX_LAYOUT, SOURCE)
        if self.masks not in (None, "boxes") and chosen and not any(map(self._mask_file, chosen)):
            raise missing_file(
                f"a mask of any image of split {self.split!r}", Path(self.masks, f"{stem(chosen[0])}.png"), MASK_LAYOUT
            )
        return Listing(
            folder, {file: number[wnid_of[file]] for file in chosen}, tuple(names[wnid] for wnid in self._wnids)
        )

    def _classes_of_folders(self, folder: Path, files: Sequence[str]) -> dict[str, str]:
        """File -> wnid, for images in class folders."""
        wnid_of = {file: file.partition("/")[0] for file in files}
        wrong = next((file for file, wnid in wnid_of.items() if not WNID.fullmatch(wnid) or "/" not in file), None)
        if wrong is not None:
            advice = "dataset=image_folder reads classes of other names"
            raise ValueError(
                f"{folder / wrong} is not in a folder of a WordNet id (n and 8 digits); {advice}; "
                f"expected layout:\n{LAYOUT}"
            )
        return wnid_of

    def _classes_of_list(self, files: Sequence[str]) -> dict[str, str]:
        """File -> wnid, for validation images that lie in one folder."""
        truth, meta = self._list_file("ILSVRC2012_validation_ground_truth.txt"), self._list_file("meta.mat")
        boxes = next((path for path in self._box_folders("val") if path.is_dir()), None)
        stems = tuple(map(stem, files))
        if solution := self._list_file("LOC_val_solution.csv"):
            source, wnid_of = solution, read_solution(solution)
        elif truth and meta:
            source, wnid_of = truth, read_devkit(truth, meta)
        elif boxes:
            source, wnid_of = boxes, names_in_boxes(boxes, boxes.stat().st_mtime_ns, stems)
        else:
            hint = f"; the numbers of {truth} need the devkit's meta.mat beside it" if truth else ""
            paths = [Path(self.root, name) for name in ("LOC_val_solution.csv", "ILSVRC2012_devkit_t12/data/meta.mat")]
            raise missing_file(f"the labels of ImageNet's unsorted validation images{hint}", paths, LAYOUT, SOURCE)
        absent = next((name for name in stems if name not in wnid_of), None)
        if absent is not None:
            raise ValueError(f"{source} does not say the class of {absent}")
        return {file: wnid_of[name] for file, name in zip(files, stems, strict=True)}

    def _classes(self, seen: Iterable[str]) -> dict[str, str]:
        """Wnid -> name, for every class. Without a list of names the wnid is the name."""
        if mapping := self._list_file("LOC_synset_mapping.txt"):
            return read_mapping(mapping)
        folder = next((path for path in self._images("train") if path.is_dir()), None)
        wnids = {path.name for path in folder.iterdir() if WNID.fullmatch(path.name)} if folder else set()
        return {wnid: wnid for wnid in wnids or set(seen)}
