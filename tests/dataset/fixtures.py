"""Tiny data sets on disk, in the official layouts."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pomelo_lab.dataset.celeba_files import ATTRIBUTES
from pomelo_lab.dataset.chexpert import OBSERVATIONS

# file name -> (partition 0 train, 1 val, 2 test; attributes that are present)
CELEBA_ROWS: dict[str, tuple[int, tuple[str, ...]]] = {
    "000001.jpg": (0, ("Blond_Hair", "Young")),
    "000002.jpg": (0, ("Black_Hair", "Male")),
    "000003.jpg": (1, ("Gray_Hair", "Smiling")),
    "000004.jpg": (1, ("Brown_Hair", "Black_Hair")),  # ambiguous: two
    "000005.jpg": (1, ("Smiling",)),  # ambiguous: none
    "000006.jpg": (1, ("Bald", "Male", "Wearing_Hat")),
    "000007.jpg": (1, ("Brown_Hair",)),
    "000008.jpg": (1, ("Blond_Hair", "Smiling", "Eyeglasses")),
    "000009.jpg": (2, ("Black_Hair",)),
    "000010.jpg": (2, ("Gray_Hair", "Bald")),  # ambiguous: two
}
# CelebA-HQ number -> CelebA file name (not in the same order, as in the real mapping)
HQ_ROWS = {
    0: "000008.jpg",
    1: "000003.jpg",
    2: "000006.jpg",
    3: "000009.jpg",
    4: "000005.jpg",
    2001: "000007.jpg",
    2002: "000001.jpg",
}

# path below CheXpert's folder -> observations that reports state, 1.0, 0.0 or -1.0; the others are blank
CHEXPERT_ROWS: dict[str, dict[str, str]] = {
    "train/patient00001/study1/view1_frontal.jpg": {"No Finding": "1.0", "Support Devices": "1.0"},
    "train/patient00002/study1/view1_frontal.jpg": {"Pleural Effusion": "1.0", "Edema": "-1.0"},
    "train/patient00002/study1/view2_lateral.jpg": {"Pleural Effusion": "1.0", "Edema": "-1.0"},
    "train/patient00002/study2/view1_frontal.jpg": {"Pleural Effusion": "-1.0", "Edema": "1.0"},
    "train/patient00003/study1/view1_frontal.jpg": {"Pleural Effusion": "0.0"},
    "valid/patient64541/study1/view1_frontal.jpg": {"Cardiomegaly": "1.0", "Pleural Effusion": "0.0"},
    "valid/patient64542/study1/view1_frontal.jpg": {"Pleural Effusion": "1.0"},
    "valid/patient64542/study1/view2_lateral.jpg": {"Pleural Effusion": "1.0"},
    "test/patient64741/study1/view1_frontal.jpg": {"Pleural Effusion": "1.0"},
}


def picture(seed: int, width: int, height: int, channels: int = 3) -> Image.Image:
    """A smooth random picture, so that JPEG keeps it nearly."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    return Image.fromarray(coarse.squeeze(-1) if channels == 1 else coarse).resize(
        (width, height), Image.Resampling.BICUBIC
    )


def rectangle(size: int, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """A 0/255 mask [size,size] of a rectangle in fractions."""
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[round(top * size) : round(bottom * size), round(left * size) : round(right * size)] = 255
    return mask


def make_celeba(
    root: Path, rows: Mapping[str, tuple[int, Sequence[str]]] = CELEBA_ROWS, kaggle: bool = False, images: bool = True
) -> Path:
    """CelebA's folder: aligned 178x218 images and the two lists, as txt (official) or csv (Kaggle)."""
    folder = root / "img_align_celeba" / ("img_align_celeba" if kaggle else "")
    folder.mkdir(parents=True)
    values = {
        name: ["1" if attribute in present else "-1" for attribute in ATTRIBUTES] for name, (_, present) in rows.items()
    }
    if images:
        for name in rows:
            picture(int(name[:6]), 178, 218).save(folder / name, quality=95)
    if kaggle:
        for stem, header, body in (
            ("list_attr_celeba", ATTRIBUTES, values),
            ("list_eval_partition", ["partition"], {name: [str(part)] for name, (part, _) in rows.items()}),
        ):
            with open(root / f"{stem}.csv", "w", newline="") as file:
                csv.writer(file).writerows([["image_id", *header], *([name, *cells] for name, cells in body.items())])
        return root
    lines = [str(len(rows)), " ".join(ATTRIBUTES) + " "]
    lines += [f"{name} " + " ".join(f"{value:>2}" for value in cells) for name, cells in values.items()]
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (root / "list_eval_partition.txt").write_text("".join(f"{name} {part}\n" for name, (part, _) in rows.items()))
    return root


def make_celebamask_hq(
    root: Path, rows: Mapping[int, str] = HQ_ROWS, no_hair: Sequence[int] = (), empty_hair: Sequence[int] = ()
) -> Path:
    """CelebAMask-HQ's folder: square images (128 px for 1024), masks (64 px for 512), the mapping file.

    Hair is the upper 30 % in the middle, skin the middle square with eyes and mouth inside it, cloth the lowest 10 %.
    """
    (root / "CelebA-HQ-img").mkdir(parents=True)
    lines = ["idx      orig_idx      orig_file"]
    for number, name in rows.items():
        picture(1000 + number, 128, 128).save(root / "CelebA-HQ-img" / f"{number}.jpg", quality=95)
        lines.append(f"{number:<9}{int(name[:6]) - 1:<14}{name}")
        folder = root / "CelebAMask-HQ-mask-anno" / str(number // 2000)
        folder.mkdir(parents=True, exist_ok=True)
        parts = {
            "skin": rectangle(64, 0.25, 0.25, 0.75, 0.75),
            "l_eye": rectangle(64, 0.3125, 0.375, 0.4375, 0.4375),
            "r_eye": rectangle(64, 0.5625, 0.375, 0.6875, 0.4375),
            "u_lip": rectangle(64, 0.4375, 0.625, 0.5625, 0.6875),
            "cloth": rectangle(64, 0, 0.875, 1, 1),
        }
        if number not in no_hair:
            parts["hair"] = rectangle(64, 0.25, 0, 0.75, 0 if number in empty_hair else 0.3125)
        for part, mask in parts.items():
            Image.fromarray(np.repeat(mask[..., None], 3, axis=2)).save(folder / f"{number:05d}_{part}.png")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines) + "\n")
    return root


def make_chexpert(
    root: Path,
    release: str = "CheXpert-v1.0-small",
    rows: Mapping[str, Mapping[str, str]] = CHEXPERT_ROWS,
    size: tuple[int, int] = (80, 64),
) -> Path:
    """CheXpert's folder: gray images and a list per split; the list of test has neither the release in its paths nor
    the views."""
    folder = root / release
    for number, (file, _) in enumerate(rows.items()):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number, *size, channels=1).save(path, quality=95)
    for split, name in (("train", "train.csv"), ("valid", "valid.csv"), ("test", "test_labels.csv")):
        of_split = {file: stated for file, stated in rows.items() if file.startswith(f"{split}/")}
        header, table = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS], []
        for file, stated in of_split.items():
            frontal = file.endswith("frontal.jpg")
            about = ["Female", "68", "Frontal" if frontal else "Lateral", "AP" if frontal else ""]
            table.append([f"{release}/{file}", *about, *(stated.get(observation, "") for observation in OBSERVATIONS)])
        if split == "test":
            header = ["Path", *OBSERVATIONS]
            table = [
                [file, *(stated.get(observation, "0.0") for observation in OBSERVATIONS)]
                for file, stated in of_split.items()
            ]
        with open(folder / name, "w", newline="") as file:
            csv.writer(file).writerows([header, *table])
    return root


def make_image_folder(
    root: Path,
    classes: Mapping[str, int],
    splits: Sequence[str] = (),
    size: tuple[int, int] = (40, 30),
    masks: Sequence[str] = (),
    attributes: Sequence[str] = (),
) -> Path:
    """Class folders of PNG files (below each split, if any), masks/<part>/... with the left half inside,
    attributes.csv."""
    table = [["file", *attributes]]
    for top in [f"{split}/" for split in splits] or [""]:
        for number, (name, n) in enumerate(classes.items()):
            for i in range(n):
                path = root / f"{top}{name}" / f"{i:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture(1000 * number + i + len(top), *size).save(path)
                file = path.relative_to(root)
                table.append([file.as_posix(), *(str((i + k) % 2) for k in range(len(attributes)))])
                for part in masks:
                    of_part = root / "masks" / part / file
                    of_part.parent.mkdir(parents=True, exist_ok=True)
                    mask = np.zeros(size[::-1], dtype=np.uint8)
                    mask[:, : size[0] // 2] = 255
                    Image.fromarray(mask).save(of_part)
    if attributes:
        with open(root / "attributes.csv", "w", newline="") as file:
            csv.writer(file).writerows(table)
    return root


def truncate(path: Path) -> None:
    """Cut a file in half, as a broken download does."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
