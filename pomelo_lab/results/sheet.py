"""The picture sheet of a finished job: its first images with their maps and counterfactuals, labels and colour keys."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pomelo_lab.engine.score_files import SHEET as FILE
from pomelo_lab.engine.score_files import SHOWN
from pomelo_lab.results.sheet_page import MOST, PALE, PLAIN, WRONG, Shown, draw_page, overlays
from pomelo_lab.types import Perturbations

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

log = logging.getLogger(__name__)

PER_FILE = 64  # images in one file; further files are sheet-2.png, ...
N_PERTURBED = 3  # perturbations shown per image in a job without an explainer


def write_sheet(job: Job, folder: Path, n_images: int | str = SHOWN) -> Path | None:
    """Draws the sheet from stored artefacts. An error is reported in one line and does not affect the finished job.

    Args: n_images: number of images, the first ones of the job, or "all".
    Returns: the first file, or None when the job has no images to show.
    """
    n = job.selection.n_images if n_images == "all" else min(int(n_images), job.selection.n_images)
    if not n:
        return None
    try:
        pages = [range(start, min(start + PER_FILE, n)) for start in range(0, n, PER_FILE)]
        paths = [folder / (FILE if i == 0 else f"sheet-{i + 1}.png") for i in range(len(pages))]
        for page, path in zip(pages, paths, strict=True):
            draw(job.reader, page, path)
        return paths[0]
    except Exception as error:  # noqa: BLE001 (the scores are on disk: a picture is worth no failed job)
        print(f"(no sheet: {type(error).__name__}: {error})", file=sys.stderr)
        return None


def drop_damaged(folder: Path) -> None:
    """Removes the damaged sheets of a folder and names them. PNG files carry checksums, which detect the damage."""
    from PIL import Image

    for path in sorted(folder.glob("sheet*.png")):
        try:
            with Image.open(path) as file:
                file.verify()
        except Exception as error:  # noqa: BLE001 (bytes from outside, which may break any reader)
            path.unlink()
            log.warning(
                "%s is damaged (%s): %s",
                path,
                error,
                "it is drawn again" if path.name == FILE else "removed, sheet=all draws it again",
            )


def draw(job: Job, images: range, path: Path) -> None:
    """Draws one file with the images at the given positions of the job's order."""
    from pomelo_lab.engine.store import GROUP

    shown, keys = [], {}
    for group in range(images.start // GROUP, -(-images.stop // GROUP)):
        rows = slice(max(images.start - group * GROUP, 0), min(images.stop - group * GROUP, GROUP))
        group_images, new = shown_images(job, group, rows)
        shown, keys = shown + group_images, {**keys, **new}
        job.forget()
    share_scale(shown, keys)
    shorten_names(shown)
    draw_page(shown, keys, title(job, len(shown)), path)


def title(job: Job, n: int) -> str:
    """The title of a sheet: methods, data and scale, so that the picture is complete without its folder."""
    choices = job.config.get("choices") or {}
    made = [choices[r] for r in ("explainer", "sampler") if choices.get(r, "none") != "none"]
    about = [choices[r] for r in ("classifier", "dataset") if choices.get(r)]
    scale = [f"scale={choices['scale']}"] if choices.get("scale") else []
    images = f"{n} of {job.selection.n_images} images, split {job.config['dataset'].get('split')}"
    return " · ".join(filter(None, [" with ".join(made), " on ".join(about), *scale, images]))


def shown_images(job: Job, group: int, rows: slice) -> tuple[list[Shown], dict[str, str]]:
    """The images of one group with their pictures and texts, and the meaning of the rows of pictures."""
    batch, name = job.batch(group), job.parts.dataset.class_name
    explanation = read_stored(job.explanation, group) if job.parts.explains else None
    probability = read_stored(job.clean, group)
    target = explanation.target if explanation is not None else None
    out, keys = [], {}
    picked = range(*rows.indices(len(batch)))
    maps = (
        overlays(batch.image, explanation.attribution)
        if explanation is not None and explanation.attribution is not None
        else None
    )
    perturbed = read_stored(job.perturbations, group) if explanation is None and job.parts.perturbs else None
    for i in picked:
        truth = int(batch.label[i])
        texts = {"image": (batch.image_id[i], PALE), "true class": (name(truth), PLAIN)}
        if probability is not None:
            row = probability[i]
            guess = int(row.argmax())
            texts["predicted"] = (f"{name(guess)} {float(row[guess]):.2f}", PLAIN if guess == truth else WRONG)
        if target is not None:
            texts["explained"] = (name(int(target[i])), PLAIN)
        entry = Shown(texts, {"image": (rgb(batch.image[i]), "", False)})
        if maps is not None:
            entry.pictures["attribution"] = (maps[i], scale_of(explanation.attribution[i]), False)
            keys["attribution"] = "map"
        if explanation is not None and explanation.counterfactual is not None:
            flipped = bool(explanation.extra["flipped"][i] > 0.5) if "flipped" in explanation.extra else True
            entry.pictures["counterfactual"] = (
                rgb(explanation.counterfactual[i]),
                "" if flipped else "did not flip",
                not flipped,
            )
            # `share_scale` converts this difference to a picture
            entry.pictures["difference"] = (rgb(explanation.counterfactual[i] - batch.image[i]), "", False)
            keys["difference"] = "difference"
        for k in range(1, min(1 + N_PERTURBED, perturbed.n if perturbed is not None else 0)):
            entry.pictures[f"perturbed {k}"] = (rgb(Perturbations.dequantize(perturbed.image[i, k])), "", False)
        out.append(entry)
    return out, keys


def read_stored(read: Callable[[int], Any], group: int) -> Any:
    """Reads the stored result of a job's stage for a group; None when it is not stored."""
    from pomelo_lab.engine.not_stored import NotStored

    try:
        return read(group)
    except NotStored:
        return None


def rgb(picture: Tensor) -> Tensor:
    """Converts a picture to three channels: [1 or 3,H,W] -> [3,H,W]. Of more channels the first three are shown."""
    return (picture.expand(3, -1, -1) if len(picture) == 1 else picture[:3]).detach().float().cpu()


def scale_of(attribution: Tensor) -> str:
    """The value of full colour on one map, and the number of its values that are not finite."""
    finite = attribution[attribution.isfinite()]
    lost = f", {attribution.numel() - len(finite)} NaN" if len(finite) < attribution.numel() else ""
    if not len(finite):
        return "not finite"
    low, high = float(finite.min()), float(finite.max())
    if low == high:
        return f"all {low:.2g}{lost}"
    return (
        f"{low:.2g} to {high:.2g}" if low > 0 else f"± {max(-low, high):.2g}" if low < 0 else f"0 to {high:.2g}"
    ) + lost


def share_scale(shown: list[Shown], keys: dict[str, str]) -> None:
    """Shows the differences of all images on one scale: gray = unchanged, white or black = the 99.9 % quantile of
    the changes."""
    differences = [entry.pictures["difference"][0] for entry in shown if "difference" in entry.pictures]
    if not differences:
        return
    sizes = torch.cat([d[d.isfinite()].abs().flatten() for d in differences])
    full = float(torch.quantile(sizes[:: max(1, len(sizes) // 1_000_000)], 0.999)) if len(sizes) else 0.0
    full = full or 1.0
    for entry in shown:
        if "difference" in entry.pictures:
            change, *rest = entry.pictures["difference"]
            entry.pictures["difference"] = ((0.5 + change.nan_to_num(0.0) / (2 * full)).clamp(0, 1), *rest)
    keys["difference"] = f"{full:.2f}"


def shorten_names(shown: list[Shown]) -> None:
    """Removes the common beginning of long image names."""
    names = [entry.texts["image"][0] for entry in shown]
    common = os.path.commonprefix(names)
    cut = max(common.rfind(separator) for separator in "/-_ ") + 1
    if max(map(len, names)) > MOST and len(names) > 1:
        for entry in shown:
            entry.texts["image"] = (entry.texts["image"][0][cut:], entry.texts["image"][1])
