"""Exports the explanations of a finished job: arrays for other software, pictures for people, and a manifest.

`pomelo-lab export <score folder> to=DIR`. What it writes, `explainer=stored` reads.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pomelo_lab import __version__
from pomelo_lab.config.describe import did_you_mean
from pomelo_lab.config.fingerprint import digest
from pomelo_lab.config.tree import nodes
from pomelo_lab.explainer.manifest import MANIFEST, write_manifest
from pomelo_lab.results.overlay import colour_map, overlay
from pomelo_lab.types import Batch, Explanation, to_8_bits

if TYPE_CHECKING:
    from pomelo_lab.engine.job import Job

LONGEST = 120  # letters of a file's name
USAGE = f"""usage: pomelo-lab export <score folder> [to=DIR] [alpha=0.65] [clip=1.0] [colors=RdBu_r]

Writes the explanations of a finished job, for each image: the attribution (.npy), its heat map and its overlay, the
counterfactual (.npy and .png) and its difference to the image; and {MANIFEST} with ids, targets and the fingerprint.

  to      folder; default: <score folder>/export
  alpha   opacity of the overlay where the map is largest, from 0 to 1
  clip    quantile of a map's magnitudes that gets the full colour: 1.0 = the largest
  colors  name of a colour map of matplotlib

What it writes is scored again by explainer=stored explainer.maps=DIR explainer.counterfactuals=DIR."""


@dataclass(frozen=True)
class Style:
    """How maps are drawn.

    alpha: opacity of the overlay where a map is largest. clip: quantile of a map's magnitudes that gets the full
    colour. colors: name of a colour map of matplotlib.
    """

    alpha: float = 0.65
    clip: float = 1.0
    colors: str = "RdBu_r"

    def __post_init__(self) -> None:
        from matplotlib import colormaps

        for name in ("alpha", "clip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name):g}")
        if self.colors not in colormaps:
            near = did_you_mean(self.colors, list(colormaps))
            raise ValueError(f"colors must be a colour map of matplotlib, got {self.colors!r}{near}")


def export(folder: Path, to: Path, style: Style = Style()) -> Path:  # noqa: B008 (frozen)
    """Writes the explanations of a finished job to a folder.

    Args: folder: the score folder, <paths.outputs>/score/<fingerprint>.
    Returns: the manifest.
    Raises: FileNotFoundError for a folder without a finished job. ValueError for a job that explains nothing, whose
        explanations are no longer stored, or whose data or weights have changed.
    """
    job = open_job(folder)
    rows = []
    taken: set[str] = set()
    for group in range(job.selection.n_groups):
        batch, explanation = job.batch(group), job.explanation(group)
        names = [file_name(image_id, taken) for image_id in batch.image_id]
        rows += write_group(to, names, batch, explanation, style)
        job.forget()
    about = {
        "written_by": f"pomelo_lab {__version__}",
        "fingerprint": job.fingerprint,
        "explanation": digest(job.provenance.explanation),
        "choices": job.config.get("choices") or {},
        "class_names": list(job.parts.dataset.class_names),
    }
    return write_manifest(to, about, rows)


def open_job(folder: Path) -> Job:
    """The finished job of a score folder, for reading only."""
    import yaml

    from pomelo_lab.engine.cache import StoredArtefacts
    from pomelo_lab.engine.job import Job
    from pomelo_lab.engine.score_files import read_status
    from pomelo_lab.engine.store import Store
    from pomelo_lab.training.trained import has_weights

    folder = folder.resolve()
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{folder} is no score folder: it has no config.yaml")
    state = read_status(folder).get("state", "missing")
    if state != "done":
        raise ValueError(f"the job of {folder} is not finished, its state is {state}")
    config, outputs = yaml.safe_load((folder / "config.yaml").read_text()), folder.parents[1]
    config["paths"]["outputs"] = str(outputs)
    networks = [node for _, node in nodes(config) if "weights" in node]
    if not all(has_weights(node, config["dataset"], str(outputs)) for node in networks):
        raise ValueError(f"weights of the job of {folder} are gone: run the job again")
    job = Job(config, Store(outputs), cache=StoredArtefacts)
    if not job.parts.explains:
        raise ValueError(f"the job of {folder} explains nothing: its explainer is none")
    if job.fingerprint != folder.name:
        raise ValueError(f"the data, weights or code of {folder} have changed since: run the job again")
    return job


def file_name(image_id: str, taken: set[str]) -> str:
    """A name for the files of an image: its id with _ for what is no letter, digit, dot, hyphen, # or _."""
    name = plain = re.sub(r"[^\w.#-]", "_", image_id)[-LONGEST:].lstrip(".") or "image"
    n = 1
    while name in taken:
        n += 1
        name = f"{plain}~{n}"
    taken.add(name)
    return name


def write_group(
    to: Path, names: Sequence[str], batch: Batch, explanation: Explanation, style: Style
) -> Iterator[dict[str, Any]]:
    """Writes the files of a group of images, and gives their rows of the manifest."""
    made: dict[str, Tensor] = {"image_picture": batch.image}
    attribution, counterfactual = explanation.attribution, explanation.counterfactual
    if attribution is not None:
        maps = attribution.float().nan_to_num(0.0, 0.0, 0.0)
        made["attribution"] = attribution
        made["heat_map_picture"] = colour_map(maps, style.clip, style.colors)
        made["overlay_picture"] = overlay(batch.image, maps, style.alpha, style.clip, style.colors)
    if counterfactual is not None:
        change = counterfactual - batch.image
        largest = change.flatten(1).abs().amax(1).clamp_min(torch.finfo(change.dtype).tiny)[:, None, None, None]
        made |= {"counterfactual": counterfactual, "counterfactual_picture": counterfactual}
        made["difference_picture"] = 0.5 + change / (2 * largest)
    numbers = {name: values.float() for name, values in explanation.extra.items() if values.ndim == 1}
    for i, name in enumerate(names):
        files = {part: write_file(to, part, name, tensor[i].cpu()) for part, tensor in made.items()}
        values = {key: float(tensor[i]) for key, tensor in numbers.items()}
        yield {
            "image_id": batch.image_id[i],
            "target": int(explanation.target[i]),
            **files,
            "numbers": {key: value if np.isfinite(value) else None for key, value in values.items()},
        }


def write_file(to: Path, part: str, name: str, values: Tensor) -> str:
    """Writes an array, or a picture [C,H,W] in [0,1], to a folder of its own. Returns its path below `to`."""
    drawn = part.endswith("_picture")
    path = Path("pictures", part.removesuffix("_picture"), f"{name}.png") if drawn else Path(part, f"{name}.npy")
    (to / path).parent.mkdir(parents=True, exist_ok=True)
    if not drawn:
        np.save(to / path, values.float().numpy())
        return path.as_posix()
    from PIL import Image

    pixels = to_8_bits(values.float()).permute(1, 2, 0).numpy()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3]).save(to / path)
    return path.as_posix()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports what the command line names, and returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE, file=sys.stderr)
        return 0 if arguments else 2
    sys.path.append(str(Path.cwd()))  # makes the user's components importable
    try:
        folder, to, style = parse(arguments)
        print(f"manifest: {export(folder, to, style)}")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parse(arguments: Sequence[str]) -> tuple[Path, Path, Style]:
    """The score folder, the folder to write to, and the style that a command line asks for."""
    folders = [text for text in arguments if "=" not in text or Path(text).exists()]
    if len(folders) != 1:
        raise ValueError(f"expected one score folder, got {len(folders)}\n{USAGE}")
    given = dict(text.split("=", 1) for text in arguments if text not in folders)
    known = ["to", *(f.name for f in fields(Style))]
    for key in given:
        if key not in known:
            raise ValueError(f"{key} is unknown{did_you_mean(key, known)}; the options are {', '.join(known)}")
    to = Path(given.pop("to", Path(folders[0], "export"))).expanduser()
    values: dict[str, Any] = dict(given)
    for name in {"alpha", "clip"} & set(values):
        try:
            values[name] = float(values[name])
        except ValueError:
            raise ValueError(f"{name} must be a number from 0 to 1, got {values[name]!r}") from None
    return Path(folders[0]), to, Style(**values)


if __name__ == "__main__":
    sys.exit(main())
