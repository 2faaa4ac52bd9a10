"""The files of CelebA and CelebAMask-HQ as their authors publish them: names, layouts, lists."""

from __future__ import annotations

import csv
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CELEBA_SOURCE = "the CelebA project page, https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
CELEBA_LAYOUT = """\
<root>/img_align_celeba/000001.jpg ...        (or <root>/celeba/img_align_celeba, <root>/Img/img_align_celeba)
<root>/list_attr_celeba.txt                   (or .csv; or in <root>/Anno)
<root>/list_eval_partition.txt                (or .csv; or in <root>/Eval)"""
HQ_SOURCE = "the CelebAMask-HQ project page, https://github.com/switchablenorms/CelebAMask-HQ"
HQ_LAYOUT = """\
<masks_root>/CelebA-HQ-img/0.jpg ... 29999.jpg
<masks_root>/CelebAMask-HQ-mask-anno/0/00000_hair.png ... 14/29999_skin.png
<masks_root>/CelebA-HQ-to-CelebA-mapping.txt"""

ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
PARTITION = {"train": 0, "val": 1, "test": 2}
MASK_FOLDERS = 15
PART_OF_FILE = {  # in the order in which CelebAMask-HQ's own script paints its label maps
    "skin": "skin",
    "nose": "nose",
    "eye_g": "glasses",
    "l_eye": "eyes",
    "r_eye": "eyes",
    "l_brow": "brows",
    "r_brow": "brows",
    "l_ear": "skin",
    "r_ear": "skin",
    "mouth": "mouth",
    "u_lip": "mouth",
    "l_lip": "mouth",
    "hair": "hair",
    "hat": "hat",
    "ear_r": "earrings",
    "neck_l": "neck",
    "neck": "neck",
    "cloth": "clothes",
}


def folders_below(root: Path, folders: Sequence[str]) -> list[Path]:
    """Paths of folders below a root, in order."""
    return [root / folder for folder in folders]


def read_attributes(path: Path) -> tuple[dict[str, int], np.ndarray]:
    """Reads the attribute list: row number of each file name, and bool [n,40] in the order of ATTRIBUTES. It is cached
    until the file changes.

    Raises: ValueError, which names the file and line.
    """
    state = path.stat()
    return _attributes(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=2)
def _attributes(path: Path, mtime_ns: int, size: int) -> tuple[dict[str, int], np.ndarray]:
    if path.suffix == ".csv":  # image_id,5_o_Clock_Shadow,...
        header, body, first = table_of_csv(path, 1 + len(ATTRIBUTES))
    else:  # a count, a line of names, then "000001.jpg -1  1 ..."
        lines = path.read_text(encoding="utf-8").splitlines()
        header, first = (lines[1].split() if len(lines) > 1 else []), 3
        body = [line.partition(" ")[::2] for line in lines[2:] if line.strip()]
    absent = [name for name in ATTRIBUTES if name not in header]
    if absent:
        raise ValueError(f"{path}: the header does not name {', '.join(absent[:3])}{' ...' if len(absent) > 3 else ''}")
    n_columns = len(header) if path.suffix != ".csv" else len(header) - 1
    try:  # one C call over the 8 million numbers of the full list
        values = np.fromstring(" ".join(rest for _, rest in body), dtype=np.int8, sep=" ").reshape(len(body), n_columns)
    except ValueError:
        values = None
    if values is None or (len(values) and np.abs(values).max() > 1):
        for line, (name, rest) in enumerate(body, start=first):
            if len(rest.split()) != n_columns or set(rest.split()) - {"-1", "0", "1"}:
                raise ValueError(f"{path} line {line} ({name}): expected {n_columns} values of -1 or 1")
        raise ValueError(f"{path}: attribute values cannot be read")
    columns = [header.index(name) - (path.suffix == ".csv") for name in ATTRIBUTES]
    return {name: row for row, (name, _) in enumerate(body)}, values[:, columns] > 0


def table_of_csv(path: Path, at_least: int) -> tuple[list[str], list[tuple[str, str]], int]:
    """Reads a list of Kaggle like the official one: header, rows of (file name, values separated by blanks), number
    of the first line."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a csv file: {error}") from None
    if not rows or len(rows[0]) < at_least:
        raise ValueError(f"{path} line 1: expected a header of {at_least} columns, got {len(rows[0]) if rows else 0}")
    return rows[0], [(row[0], " ".join(row[1:])) for row in rows[1:]], 2


def read_partition(path: Path) -> dict[str, int]:
    """File name -> 0 train, 1 val, 2 test. Raises: ValueError naming the file and line."""
    if path.suffix == ".csv":
        _, body, first = table_of_csv(path, 2)
    else:
        lines = path.read_text(encoding="utf-8").splitlines()
        body, first = [line.partition(" ")[::2] for line in lines if line.strip()], 1
    part_of_file = {}
    for line, (name, part) in enumerate(body, start=first):
        if part.strip() not in ("0", "1", "2"):
            raise ValueError(f"{path} line {line}: expected '<image>.jpg 0|1|2', got {name} {part}")
        part_of_file[name] = int(part)
    return part_of_file


def read_mapping(path: Path) -> dict[int, str]:
    """CelebA-HQ number -> CelebA file name, from lines "idx orig_idx orig_file".

    Raises: ValueError naming the file and line.
    """
    file_names = {}
    for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        cells = text.split()
        if not cells or cells[0] == "idx":
            continue
        if len(cells) != 3 or not cells[0].isdigit():
            raise ValueError(f"{path} line {line}: expected 'idx orig_idx orig_file', got {text!r}")
        file_names[int(cells[0])] = cells[2]
    return file_names
