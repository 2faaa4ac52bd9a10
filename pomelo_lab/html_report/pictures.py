"""The pictures of a page: PNG files in a folder beside it, each named by a digest of its pixels.

Data URIs would make a page of 1,000 images too large to open. An image that several jobs explain is one file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pomelo_lab.results.overlay import colour_map, scale_maps
from pomelo_lab.results.sheet import rgb
from pomelo_lab.types import Batch, Explanation, to_8_bits

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

NAME = re.compile(r"[0-9a-f]{16}\.png")


class Pictures:
    """Writes the pictures of a page.

    Args: folder: gets the files. n_images: the number of images of each job that get pictures.
        clip: quantile of a map's magnitudes that gets the full colour.
    """

    def __init__(self, folder: Path, n_images: int, clip: float = 1.0) -> None:
        self.folder, self.n_images, self.clip = folder, n_images, clip
        self.written: set[str] = set()

    def write_job(self, job: Job) -> dict[str, Any]:
        """Writes the pictures of a job's first images.

        Returns: `pictures`: part -> a file name per image; `probability`: of each explained class on the image;
            `labels` and `targets`: the names of the images' classes, and of the explained ones.
        Raises: NotStored when the explanations are no longer stored.
        """
        pictures: dict[str, list[str]] = {}
        told: dict[str, list[Any]] = {"probability": [], "labels": [], "targets": []}
        for group in range(job.selection.n_groups):
            rest = slice(0, self.n_images - len(told["labels"]))
            if not rest.stop:
                break
            batch, explanation = job.batch(group), job.explanation(group)
            for part, images in self.draw(batch, explanation):
                pictures.setdefault(part, []).extend(self.write(image) for image in images[rest])
            target, clean = explanation.target[rest], job.clean(group)[rest]
            told["probability"] += clean.gather(1, target[:, None].to(clean.device))[:, 0].tolist()
            told["targets"] += [class_name(job.parts.target_names, k) for k in target.tolist()]
            told["labels"] += [job.parts.dataset.class_name(k) for k in job.label(group)[rest].tolist()]
            job.forget()
        return {"pictures": pictures, **told}

    def draw(self, batch: Batch, explanation: Explanation) -> Iterator[tuple[str, Tensor]]:
        """(part, its pictures [B,3|4,H,W] in [0,1]) of a group of images.

        A map is the colours of its values, red for the class and blue against it. Its fourth channel is the opacity,
        the square root of the magnitude, so that the page can lay it over the image. A difference is gray where
        nothing changes; its largest change is black or white.
        """
        image, attribution, counterfactual = batch.image, explanation.attribution, explanation.counterfactual
        yield "image", stacked(image)
        if attribution is not None:
            maps = attribution.float().nan_to_num(0.0, 0.0, 0.0).cpu()
            opacity = scale_maps(maps, self.clip).abs().sqrt()[:, None]
            yield "map", torch.cat([colour_map(maps, self.clip), opacity], 1)
        if counterfactual is not None:
            change = counterfactual - image
            largest = change.flatten(1).abs().amax(1).clamp_min(torch.finfo(change.dtype).tiny)[:, None, None, None]
            yield "counterfactual", stacked(counterfactual)
            yield "difference", stacked(0.5 + change / (2 * largest))

    def write(self, image: Tensor) -> str:
        """Writes a picture [3|4,H,W] once. Returns its file name."""
        from PIL import Image

        pixels = to_8_bits(image.float()).permute(1, 2, 0).contiguous().numpy()
        name = f"{hashlib.sha256(f'{pixels.shape}'.encode() + pixels.tobytes()).hexdigest()[:16]}.png"
        if name not in self.written:
            self.folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(self.folder / name)
            self.written.add(name)
        return name

    def remove_others(self) -> None:
        """Removes the pictures of an earlier page of the same name. Other files stay."""
        for path in self.folder.glob("*.png"):
            if NAME.fullmatch(path.name) and path.name not in self.written:
                path.unlink()


def stacked(images: Tensor) -> Tensor:
    """Images of any number of channels as [B,3,H,W], on the CPU."""
    return torch.stack([rgb(image) for image in images])


def class_name(names: Sequence[str], k: int) -> str:
    """The name of an output of the classifier."""
    return names[k] if k < len(names) else f"output {k}"
