"""CheXpert: chest radiographs with fourteen observations, extracted from their reports."""

from __future__ import annotations

import csv
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from pomelo_lab.config.hints import Count
from pomelo_lab.config.signature import did_you_mean
from pomelo_lab.dataset.base import Split
from pomelo_lab.dataset.cropped_files import CroppedFiles, Listing, stem
from pomelo_lab.dataset.image_file import checked_indices, first_existing
from pomelo_lab.types import Batch

OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
SOURCE = "the CheXpert page, https://stanfordmlgroup.github.io/competitions/chexpert"
LAYOUT = """\
<root>/CheXpert-v1.0-small/train.csv, valid.csv   (or <root>/CheXpert-v1.0, or in <root> itself)
<root>/CheXpert-v1.0-small/test_labels.csv        (or test.csv; for split test only)
<root>/CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg ...
<root>/CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg ..."""
FOLDERS = ("", "CheXpert-v1.0-small", "CheXpert-v1.0")
LISTS = {"train": ("train.csv",), "val": ("valid.csv",), "test": ("test_labels.csv", "test.csv")}
BELOW = re.compile(r"(?:.*/)?((?:train|valid|test)/.+)")  # a file's path without the folder of the release
VIEW = "Frontal/Lateral"
UNCERTAIN = -1
# an observation that the report does not mention counts as absent
VALUES = {"": 0, "0.0": 0, "1.0": 1, "-1.0": UNCERTAIN, "0": 0, "1": 1, "-1": UNCERTAIN}


@dataclass(kw_only=True)
class CheXpert(CroppedFiles):
    """Chest radiographs, split by patient. The label is one of 14 observations; the attributes are all of them.

    The labels of train come from a program that reads reports. Those of val and test come from radiologists and are
    never uncertain.

    Source: Irvin et al., "CheXpert: a large chest radiograph dataset with uncertainty labels and expert comparison"
        (2019), section 3 for the readings of uncertain labels. Departures: uncertain attributes are not masked (see
        uncertain).
    Args:
        root, size_px: see CroppedFiles.
        split: val is the official validation set (234 images); test needs the list and images that were released later.
        label: one of the observations, as the files spell it: classes ("not X", "X").
        uncertain: meaning of -1. ones, zeros = present, absent (U-Ones, U-Zeros); drop = images with an uncertain label
            are omitted (U-Ignore), and other uncertain observations count as absent.
        views: which radiographs.
        resize_px: length of the shorter side before the square is cropped; None = size_px, so that only the longer side
            is cropped.
        channels: 1, or 3 with the gray value repeated.
    """

    provides: ClassVar[frozenset[str]] = frozenset({"label", "attributes"})
    attribute_names: ClassVar[tuple[str, ...]] = OBSERVATIONS
    mode = "L"

    split: Split = "val"
    label: str = "Pleural Effusion"
    uncertain: Literal["ones", "zeros", "drop"] = "ones"
    views: Literal["frontal", "lateral", "all"] = "frontal"
    resize_px: Count | None = None
    channels: Literal[1, 3] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        row_of, present = self._listing
        self._attribute = torch.from_numpy(present[[row_of[file] for file in self._files]])
        del self._listing

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> list[str]:
        label, problems = given["label"], super().config_problems(given)
        if label not in OBSERVATIONS:
            problems.append(
                f"label must be one of {', '.join(OBSERVATIONS)}, got {label!r}{did_you_mean(label, OBSERVATIONS)}"
            )
        return problems

    @classmethod
    def classes(cls, given: Mapping[str, Any]) -> tuple[str, ...]:
        label = given.get("label", cls.label)
        return f"not {label}", label

    @classmethod
    def label_arguments(cls, given: Mapping[str, Any]) -> tuple[str, ...]:
        return () if given.get("uncertain") == "drop" else ("label",)  # the label determines which images are dropped

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size_px, self.size_px

    def _image_id(self, file: str) -> str:
        return f"chexpert-{file.rpartition('.')[0]}"

    def _list_files(self) -> Listing:
        folders = [Path(self.root, name) for name in FOLDERS]
        tried = [folder / name for folder in folders for name in LISTS[self.split]]
        table = first_existing(f"the list of CheXpert's split {self.split!r}", tried, LAYOUT, SOURCE)
        files, views, values = read_list(table)
        column = OBSERVATIONS.index(self.label)
        kept = np.ones(len(files), dtype=bool) if self.views == "all" else views == self.views
        if self.uncertain == "drop":
            kept &= values[:, column] != UNCERTAIN
        rows = kept.nonzero()[0].tolist()
        if not rows:
            raise ValueError(
                f"{table} lists no image with views={self.views} whose label {self.label!r} is known "
                f"(uncertain={self.uncertain})"
            )
        first_existing("the images of CheXpert", [table.parent / files[rows[0]].partition("/")[0]], LAYOUT, SOURCE)
        present = (values == 1) | ((values == UNCERTAIN) & (self.uncertain == "ones"))
        row_of = {files[row]: row for row in rows}
        self._listing = row_of, present
        return Listing(
            table.parent,
            {file: int(present[row, column]) for file, row in row_of.items()},
            self.classes({"label": self.label}),
        )

    def batch(self, indices: Sequence[int]) -> Batch:
        rows = checked_indices(indices, len(self))
        return replace(self._read(rows)[0], attributes=self._attribute[rows])

    def read_attributes(self, indices: Sequence[int]) -> torch.Tensor:
        return self._attribute[checked_indices(indices, len(self))]

    def digest(self) -> str:
        """Digest of the image ids, labels, attributes and file contents of this split."""
        return self._with_attributes(super().digest())

    def attribute_digest(self) -> str:
        """Digest of the image ids, attributes and file contents of this split, without labels."""
        return self._with_attributes(self.image_digest())

    def _with_attributes(self, digest: str) -> str:
        return hashlib.sha256(digest.encode() + np.packbits(self._attribute.numpy()).tobytes()).hexdigest()[:16]


def read_list(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Reads the rows of a list: files below its folder, their views ("frontal", "lateral") [n], and the observations
    int8 [n,14]: 1 present, 0 absent, -1 uncertain. A list is read again only after its file has changed.

    Raises: ValueError, which names the file and line.
    """
    state = path.stat()
    return _list(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=3)
def _list(path: Path, mtime_ns: int, size: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    files, views, values = [], [], []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            absent = [name for name in ("Path", *OBSERVATIONS) if name not in header]
            if absent:
                raise ValueError(
                    f"{path} line 1: the header does not name "
                    f"{', '.join(absent[:3])}{' ...' if len(absent) > 3 else ''}"
                )
            path_column, view_column = header.index("Path"), header.index(VIEW) if VIEW in header else None
            columns = [header.index(name) for name in OBSERVATIONS]
            for row in reader:
                if not row:
                    continue
                where = f"{path} line {reader.line_num}"
                if len(row) != len(header):
                    raise ValueError(f"{where}: expected {len(header)} cells, got {len(row)}")
                below = BELOW.fullmatch(row[path_column])
                if below is None:
                    raise ValueError(f"{where}: Path must contain train/, valid/ or test/, got {row[path_column]!r}")
                view = (stem(below[1]).rpartition("_")[2] if view_column is None else row[view_column]).lower()
                if view not in ("frontal", "lateral"):
                    raise ValueError(f"{where}: the view must be Frontal or Lateral, got {view!r}")
                wrong = next(
                    (name for name, k in zip(OBSERVATIONS, columns, strict=True) if row[k] not in VALUES), None
                )
                if wrong is not None:
                    raise ValueError(
                        f"{where}: {wrong} must be 1.0, 0.0, -1.0 or blank, got {row[header.index(wrong)]!r}"
                    )
                files.append(below[1])
                views.append(view)
                values.append([VALUES[row[k]] for k in columns])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a csv file: {error}") from None
    return files, np.array(views), np.array(values, dtype=np.int8).reshape(-1, len(OBSERVATIONS))
