"""ImageNet (ILSVRC2012) in its official folders or Kaggle's, with the boxes of its localization task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import OptionalPath
from pomelo_lab.dataset.center_crop import CroppedFiles, Listing, half, images_in, stem
from pomelo_lab.dataset.image_file import checked, first_existing, missing_file
from pomelo_lab.dataset.imagenet_files import (
    BOX_LAYOUT,
    CLASSES_FROM,
    LAYOUT,
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
    """Photographs of 1000 kinds of things, prepared as torchvision's networks expect them.

    Classes are the sorted WordNet ids of LOC_synset_mapping.txt, else of the train folder, else of the validation images: the official
    index 0..999. A box belongs to the part "label" when it bears the image's wnid; it is resized and cut with the image. All
    validation images have boxes, about 4 in 10 training images.

    Source: Russakovsky et al., "ImageNet large scale visual recognition challenge" (2015); the transform is torchvision's. Departures:
        the edges of a box are read as positions between pixels; read as the numbers of its outermost pixels it would be one wider.
    Args:
        boxes: provide boxes; their files must then exist, those of the training images may be absent.
        boxes_root: folder of the annotation files; None = below root. Not part of fingerprints.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"label"})

    boxes: bool = True
    boxes_root: OptionalPath = None

    @classmethod
    def features(cls, given: Mapping[str, Any]) -> frozenset[str]:
        return frozenset({"label", "boxes"}) if given.get("boxes", True) else frozenset({"label"})

    def batch(self, indices: Sequence[int]) -> Batch:
        if not self.boxes:
            return self.unmasked(indices)
        batch, crops, sizes = self._read(checked(indices, len(self)))
        found = []
        for row, crop, size in zip(batch.index.tolist(), crops, sizes, strict=True):
            path = self._box_file(self._files[row])
            found.append(crop.boxes(self._of_label(row, read_annotation(path), size)) if path else torch.empty(0, 4))
        padded = torch.full((len(found), max([1, *map(len, found)]), 4), torch.nan)
        for row, boxes in enumerate(found):
            padded[row, : len(boxes)] = boxes
        return replace(batch, boxes={"label": padded})

    def unmasked(self, indices: Sequence[int]) -> Batch:
        return super().batch(indices)

    def digest(self) -> str:
        """As for any of its kind; the annotation files of the same images, where boxes are provided."""
        if not self.boxes:
            return super().digest()
        total = hashlib.sha256(super().digest().encode())
        for path in (self._box_file(self._files[row]) for row in self._sized()):
            total.update(path.read_bytes() if path else b"none")
        return total.hexdigest()[:16]

    def _image_id(self, file: str) -> str:
        return f"imagenet-{stem(file)}"

    def _of_label(self, row: int, annotation: Annotation, size: tuple[int, int]) -> Tensor:
        """The boxes that bear the image's own wnid, in fractions of the image [M,4]."""
        width, height = annotation.size or size
        own = [name == self._wnids[int(self._label[row])] for name in annotation.names]
        return annotation.edges[own] / torch.tensor([width, height, width, height], dtype=torch.float32)

    def _tops(self) -> list[Path]:
        root = Path(self.root)
        return [root, root / "ILSVRC"]  # Kaggle's archive holds the images in ILSVRC, its lists beside it

    def _list_file(self, name: str) -> Path | None:
        root = Path(self.root)
        tops = [*self._tops(), *([root.parent] if root.name == "ILSVRC" else [])]
        places = [top / folder / name for top in tops for folder in ("", "ILSVRC2012_devkit_t12/data", "data")]
        return next((path for path in places if path.is_file()), None)

    def _images(self, of: str) -> list[Path]:
        return [top / folder / of for top in self._tops() for folder in ("", "Data/CLS-LOC")]

    def _box_folders(self, of: str) -> list[Path]:
        """Where the annotation files of "train" or "val" may lie."""
        if self.boxes_root is not None:
            tops, folders = [Path(self.boxes_root)], (of, f"Annotations/CLS-LOC/{of}", "")
        else:
            tops, folders = self._tops(), (f"Annotations/CLS-LOC/{of}", f"{of}_boxes", f"{of}_boxes/{of}")
        return [top / folder for top in tops for folder in folders]

    def _box_file(self, file: str) -> Path | None:
        """The annotation of an image, in the folder of its class or not."""
        for place in (file.rpartition("/")[0], ""):
            if self._annotations is not None and (found := self._annotations / place / f"{stem(file)}.xml").is_file():
                return found
        return None

    def _listed(self) -> Listing:
        of = "train" if self.split == "train" else "val"
        what = f"the {'training' if of == 'train' else 'validation'} images of ImageNet"
        folder = first_existing(what, self._images(of), LAYOUT, SOURCE)
        self._annotations = next((place for place in self._box_folders(of) if place.is_dir()), None)
        if self.boxes and of == "val" and self._annotations is None:
            wanted = "the boxes of ImageNet's validation images (dataset.boxes=false does without)"
            raise missing_file(wanted, self._box_folders(of), BOX_LAYOUT, SOURCE)
        files = images_in(folder)
        if not files:
            raise missing_file(what, folder, LAYOUT, SOURCE)
        wnid_of = self._sorted_in(folder, files) if of == "train" or "/" in files[0] else self._unsorted(files)
        names = self._classes(wnid_of.values())
        self._wnids = tuple(sorted(names))
        number = {wnid: place for place, wnid in enumerate(self._wnids)}
        chosen = files if of == "train" else [file for file in files if half(self._image_id(file)) == self.split]
        for file in chosen:
            if wnid_of[file] not in number:
                raise ValueError(f"{folder / file} is of class {wnid_of[file]}, not one of the {len(number)} known; {CLASSES_FROM}")
        if self.boxes and of == "val" and chosen and not any(map(self._box_file, chosen)):
            wanted = f"a box of any image of split {self.split!r} (dataset.boxes=false does without)"
            raise missing_file(wanted, self._annotations / f"{stem(chosen[0])}.xml", BOX_LAYOUT, SOURCE)
        return Listing(folder, {file: number[wnid_of[file]] for file in chosen}, tuple(names[wnid] for wnid in self._wnids))

    def _sorted_in(self, folder: Path, files: Sequence[str]) -> dict[str, str]:
        """File -> wnid, of images in class folders."""
        found = {file: file.partition("/")[0] for file in files}
        wrong = next((file for file, wnid in found.items() if not WNID.fullmatch(wnid) or "/" not in file), None)
        if wrong is not None:
            advice = "dataset=image_folder reads classes of other names"
            raise ValueError(f"{folder / wrong} is not in a folder of a WordNet id (n and 8 digits); {advice}; expected layout:\n{LAYOUT}")
        return found

    def _unsorted(self, files: Sequence[str]) -> dict[str, str]:
        """File -> wnid, of validation images that lie side by side."""
        truth, meta = self._list_file("ILSVRC2012_validation_ground_truth.txt"), self._list_file("meta.mat")
        boxes = next((place for place in self._box_folders("val") if place.is_dir()), None)
        stems = tuple(map(stem, files))
        if solution := self._list_file("LOC_val_solution.csv"):
            source, wnid_of = solution, read_solution(solution)
        elif truth and meta:
            source, wnid_of = truth, read_devkit(truth, meta)
        elif boxes:
            source, wnid_of = boxes, names_in_boxes(boxes, boxes.stat().st_mtime_ns, stems)
        else:
            hint = f"; the numbers of {truth} need the devkit's meta.mat beside it" if truth else ""
            places = [Path(self.root, name) for name in ("LOC_val_solution.csv", "ILSVRC2012_devkit_t12/data/meta.mat")]
            raise missing_file(f"the labels of ImageNet's unsorted validation images{hint}", places, LAYOUT, SOURCE)
        absent = next((name for name in stems if name not in wnid_of), None)
        if absent is not None:
            raise ValueError(f"{source} does not say the class of {absent}")
        return {file: wnid_of[name] for file, name in zip(files, stems, strict=True)}

    def _classes(self, seen: Iterable[str]) -> dict[str, str]:
        """Wnid -> name of every class: equal names are told apart by the wnid."""
        if mapping := self._list_file("LOC_synset_mapping.txt"):
            return read_mapping(mapping)
        folder = next((path for path in self._images("train") if path.is_dir()), None)
        found = {path.name for path in folder.iterdir() if WNID.fullmatch(path.name)} if folder else set()
        return {wnid: wnid for wnid in found or set(seen)}
