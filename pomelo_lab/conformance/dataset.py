"""What every data set does."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pomelo_lab.conformance.compare import ensure_same
from pomelo_lab.conformance.mirror import mirrors_the_constructor
from pomelo_lab.conformance.trial import NotAsked, Trial, ensure
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.types import Batch

N = 8
LARGEST = 64 * 2**20  # bytes of a folder that is copied in order to change its files


def first_images(trial: Trial) -> Batch:
    """The first images of the data set (at most `N`), in reverse order."""
    return trial.once("batch", lambda: trial.component.batch(range(min(len(trial.component), N))[::-1]))


def gives_images(trial: Trial) -> None:
    """Images are float32 [B,C,H,W] in [0,1], on the grid of 8 bits."""
    image = first_images(trial).image
    ensure(image.dtype == torch.float32, f"images are {image.dtype}")
    ensure(
        tuple(image.shape[1:]) == tuple(trial.component.shape),
        f"images are {tuple(image.shape[1:])}, `shape` says {tuple(trial.component.shape)}",
    )
    ensure(0 <= float(image.min()) and float(image.max()) <= 1, f"values from {image.min():g} to {image.max():g}")
    ensure(torch.equal(image, image.mul(255).round().div(255)), "values are no multiples of 1/255")


def gives_labels_and_ids(trial: Trial) -> None:
    """Labels are int64 below num_classes; each image has an id of its own."""
    dataset, batch = trial.component, first_images(trial)
    ensure(
        batch.label.dtype == batch.index.dtype == torch.int64, f"label {batch.label.dtype}, index {batch.index.dtype}"
    )
    ensure(batch.index.tolist() == list(range(len(batch)))[::-1], f"index is {batch.index.tolist()}")
    every = dataset.batch(range(min(len(dataset), 64)))
    ensure(torch.equal(dataset.labels(range(len(every))), every.label), "labels() are not those of batch()")
    ensure(len(set(every.image_id)) == len(every), "two images have the same id")
    ensure(dataset.image_ids(range(len(every))) == every.image_id, "image_ids() are not those of batch()")
    ensure(int(every.label.max()) < max(dataset.num_classes, 1), f"a label is {int(every.label.max())}")
    if "label" in dataset.provides:
        ensure(bool((every.label >= 0).all()), "it provides label, and an image has none (-1)")
    ensure("label" in dataset.provides or not bool((every.label >= 0).all()), "`provides` leaves out label")


def without_padding(batch: Batch) -> Batch:
    """A batch without the rows of NaN that boxes have where another image of the batch has more of them."""
    known = {part: int(boxes.isfinite().all(2).sum(1).amax()) for part, boxes in batch.boxes.items()}
    return dataclasses.replace(batch, boxes={part: batch.boxes[part][:, :n] for part, n in known.items()})


def does_not_depend_on_the_batch(trial: Trial) -> None:
    """An image is the same alone, in any batch and in any order."""
    batch = first_images(trial)
    for row, index in enumerate(batch.index.tolist()):
        alone = trial.component.batch([index])
        ensure_same(without_padding(batch.select([row])), without_padding(alone), f"image {index} alone")
        ensure(alone.image_id == (batch.image_id[row],), f"image {index} alone has another id")
    ensure(len(trial.component.batch([]).image) == 0, "batch([]) holds images")


def is_the_same_when_built_again(trial: Trial) -> None:
    """Another object of the same arguments has the same images and digest."""
    again = dataclasses.replace(trial.component)
    ensure_same(first_images(trial), again.batch(first_images(trial).index.tolist()), "built again")
    ensure(again.digest() == trial.component.digest(), "built again it has another digest")
    ensure(trial.component.at(trial.component.split) is trial.component, "at(its own split) is another object")


def gives_what_it_provides(trial: Trial) -> None:
    """`provides` says which of masks, attributes and factors a batch holds."""
    dataset, batch = trial.component, first_images(trial)
    given = {
        "masks": bool(batch.masks),
        "attributes": batch.attributes is not None,
        "factors": batch.factors is not None,
    }
    for name, is_given in given.items():
        ensure((name in dataset.provides) == is_given, f"{name}: provided {name in dataset.provides}, given {is_given}")
    missing = set(dataset.part_names) - set(batch.masks)
    ensure(not missing, f"part_names holds {', '.join(sorted(missing))}, masks do not")
    for name, mask in batch.masks.items():
        ensure(mask.dtype == torch.bool and mask.shape == batch.image[:, 0].shape, f"mask {name} is no bool [B,H,W]")
    if batch.attributes is not None:
        shape = (len(batch), len(dataset.attribute_names))
        ensure(
            batch.attributes.shape == shape and batch.attributes.dtype == torch.bool, f"attributes are no bool {shape}"
        )


def notices_changed_files(trial: Trial) -> None:
    """A changed byte of any file that it reads changes the digest."""
    dataset, roots = trial.component, roots_of(trial.component)
    if not roots:
        raise NotAsked("it reads no folder")
    if sum(path.stat().st_size for root in roots.values() for path in root.rglob("*") if path.is_file()) > LARGEST:
        raise NotAsked(f"its folder has more than {LARGEST // 2**20} MiB: point it at a small copy")
    with tempfile.TemporaryDirectory() as folder:
        copies = {name: shutil.copytree(root, Path(folder, name)) for name, root in roots.items()}
        given = {name: type(getattr(dataset, name))(path) for name, path in copies.items()}
        with opened_files() as at_once:
            copy = dataclasses.replace(dataset, **given)
        with opened_files() as later:
            copy.batch(range(min(len(copy), 4)))
        inside = Path(folder).resolve()
        # images that are read at once; else files of names that are read before them are no images
        read = {p for p in later if p.is_relative_to(inside)} or {p for p in at_once if p.is_relative_to(inside)}
        ensure(bool(read), "it read none of its files")
        before = copy.digest()
        for path in sorted(read):
            data = path.read_bytes()
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            name = path.relative_to(inside)
            ensure(dataclasses.replace(copy).digest() != before, f"a byte of {name} changed, the digest did not")
            path.write_bytes(data)
        ensure(dataclasses.replace(copy).digest() == before, "the same bytes give another digest")


def roots_of(dataset: Dataset) -> dict[str, Path]:
    """Arguments that name a folder of images."""
    named = {name: Path(str(value)) for name, value in vars(dataset).items() if "root" in name and value}
    return {name: path.resolve() for name, path in named.items() if path.is_dir() and not name.startswith("_")}


_opened: list[set[Path]] = []


def _listen(event: str, given: tuple) -> None:
    if _opened and event == "open" and isinstance(given[0], str):
        _opened[-1].add(Path(given[0]).resolve())


@contextmanager
def opened_files() -> Iterator[set[Path]]:
    """The files that are opened inside the block."""
    if not hasattr(opened_files, "listens"):
        sys.addaudithook(_listen)  # for the rest of the process: a hook cannot be removed
        opened_files.listens = True
    _opened.append(set())
    try:
        yield _opened[-1]
    finally:
        _opened.pop()


RULES = (
    mirrors_the_constructor,
    gives_images,
    gives_labels_and_ids,
    does_not_depend_on_the_batch,
    is_the_same_when_built_again,
    gives_what_it_provides,
    notices_changed_files,
)
