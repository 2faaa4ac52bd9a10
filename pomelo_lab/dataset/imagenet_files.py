"""The files of ImageNet (ILSVRC2012) in the published layouts: lists and annotations."""

from __future__ import annotations

import functools
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import torch
from torch import Tensor

from pomelo_lab.dataset.celeba_files import table_of_csv

SOURCE = (
    "https://www.image-net.org/download.php (ILSVRC2012, with an account) or Kaggle's "
    "imagenet-object-localization-challenge"
)
LAYOUT = """\
<root>/train/<wnid>/<wnid>_10026.JPEG              (Kaggle: <root>/Data/CLS-LOC/train/...)
<root>/val/ILSVRC2012_val_00000001.JPEG            (or sorted: <root>/val/<wnid>/...; Kaggle: <root>/Data/CLS-LOC/val)
<root>/LOC_synset_mapping.txt                      (names of the classes; optional)
labels of unsorted validation images, one of:
  <root>/LOC_val_solution.csv
  <root>/ILSVRC2012_devkit_t12/data/{meta.mat,ILSVRC2012_validation_ground_truth.txt}
  the boxes"""
BOX_LAYOUT = """\
<root>/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml (or in <root>/val_boxes, <boxes_root>, <boxes_root>/val)
<root>/Annotations/CLS-LOC/train/<wnid>/<wnid>_10026.xml (optional; or in <boxes_root>, with or without train/)"""
MASK_LAYOUT = """\
<masks>/ILSVRC2012_val_00000001.png     (or <masks>/<wnid>/...; of the image file's size, non-zero = inside)"""
WNID = re.compile(r"n\d{8}")
CLASSES_FROM = "they come from LOC_synset_mapping.txt, else from the train folder, else from the validation images"
EDGES = ("xmin", "ymin", "xmax", "ymax")


class Annotation(NamedTuple):
    """The objects of one file: wnid and edges in pixels of an image of `size` (width, height), which is None if the
    file lacks it."""

    names: list[str]
    edges: Tensor  # [M,4]
    size: tuple[float, float] | None


def read_mapping(path: Path) -> dict[str, str]:
    """Wnid -> words, from lines "n01440764 tench, Tinca tinca". Raises: ValueError naming the file and line."""
    words_of: dict[str, str] = {}
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        wnid, _, words = text.strip().partition(" ")
        if text.strip() and not (WNID.fullmatch(wnid) and words):
            raise ValueError(f"{path} line {line}: expected 'n01440764 tench, Tinca tinca', got {text!r}")
        if words:
            words_of[wnid] = words
    uses = Counter(words_of.values())  # two classes are called crane
    return {wnid: f"{words} ({wnid})" if uses[words] > 1 else words for wnid, words in words_of.items()}


def read_solution(path: Path) -> dict[str, str]:
    """Image name -> wnid, from Kaggle's rows "ILSVRC2012_val_00048981,n03995372 85 1 499 272 ...".

    Raises: ValueError naming the line.
    """
    _, body, first = table_of_csv(path, 2)
    wnid_by_image = {}
    for line, (name, text) in enumerate(body, start=first):
        wnid = text.split(" ")[0]
        if not WNID.fullmatch(wnid):
            raise ValueError(
                f"{path} line {line}: expected '<image>,<wnid> xmin ymin xmax ymax ...', got '{name},{text}'"
            )
        wnid_by_image[name] = wnid
    return wnid_by_image


def read_devkit(truth: Path, meta: Path) -> dict[str, str]:
    """Reads image name -> wnid from the number on line i of the ground truth and the devkit's order of classes,
    which differs from the sorted order."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        synsets = loadmat(meta, squeeze_me=True)["synsets"].reshape(-1)
        wnid_of = {
            int(number): str(wnid) for number, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        }
    except (MatReadError, NotImplementedError, ValueError, KeyError, TypeError, IndexError, OSError) as error:
        raise ValueError(
            f"{meta} is not the devkit's meta.mat (synsets with ILSVRC2012_ID and WNID): {error}"
        ) from None
    wnid_by_image = {}
    for line, text in enumerate(truth.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip().isdigit() or int(text) not in wnid_of:
            raise ValueError(f"{truth} line {line}: expected a class number of {meta.name}, got {text!r}")
        wnid_by_image[f"ILSVRC2012_val_{line:08d}"] = wnid_of[int(text)]
    return wnid_by_image


def read_annotation(path: Path) -> Annotation:
    """Reads the objects of a PASCAL-style file. Raises: ValueError, which names the file, also for one that declares
    entities."""
    try:
        text = path.read_text(encoding="utf-8")
        if "<!ENTITY" in text:  # a few lines of nested entities can expand to gigabytes
            raise ValueError("it declares XML entities, as no annotation of ImageNet does")
        tree = ElementTree.fromstring(text)
        objects = tree.findall("object")
        edges = [[float(entry.findtext(f"bndbox/{edge}", "absent")) for edge in EDGES] for entry in objects]
        width, height = (float(tree.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    except (ElementTree.ParseError, ValueError) as error:
        expected = "object/name, object/bndbox/{xmin,ymin,xmax,ymax}, size/{width,height}"
        raise ValueError(f"{path} cannot be read as an annotation ({expected}): {error}") from None
    names = [(entry.findtext("name") or "").strip() for entry in objects]
    return Annotation(
        names,
        torch.tensor(edges, dtype=torch.float32).reshape(-1, 4),
        (width, height) if width > 0 and height > 0 else None,
    )


@functools.lru_cache(maxsize=2)
def names_in_boxes(folder: Path, mtime_ns: int, stems: tuple[str, ...]) -> dict[str, str]:
    """Image name -> wnid of the first object in its annotation. It is cached until the folder changes (about 3 s for
    all 50,000)."""
    paths = {stem: folder / f"{stem}.xml" for stem in stems}
    names = {stem: read_annotation(path).names for stem, path in paths.items() if path.is_file()}
    return {stem: wnids[0] for stem, wnids in names.items() if wnids}
