"""Maps and counterfactuals that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import Natural, ResultPath
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.base import Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.counterfactual import choose_goals
from pomelo_lab.explainer.stored_files import IMAGES, MAPS, Entry, Kind, Stored, listed, read_colours, read_stored
from pomelo_lab.explainer.stored_names import find_entry, name_problems, size_problems
from pomelo_lab.types import Explanation

SAME = 0.1  # mean absolute difference of two files of one image: JPEG and another resize stay below it


@dataclass(kw_only=True)
class StoredExplainer(Explainer):
    """Explanations that other software made, read from files and scored like those of any explainer.

    Maps are a .npy, .npz, .safetensors or .parquet file, a folder of .npy files or of gray PNGs of 8 or 16 bits (read
    as [0,1]), or a folder that `python -m pomelo_lab.export` wrote. Counterfactuals are a folder of images, the same
    kinds of files, or a result tree of DiME or ACE, whose file names are positions in the data set. Names are image
    ids; docs/how-to/score-maps-made-elsewhere.md has the layouts. Values are kept as given, signs included.

    Source: own. Departures: none.
    Args:
        maps: file or folder of the attributions, or None.
        counterfactuals: file or folder of the counterfactuals, or None. Without maps the attribution is the mean
            absolute change of each pixel.
        goal: the class that the counterfactuals were to reach; None = as the files say, else the most probable class
            except the target.
        dataset: the data set, whose names the files have. If the config leaves it out, the job's is used.
    Shapes: extra [B], of an exported folder: its numbers; of other counterfactuals: "goal", "flipped" and
        "goal_probability", as the classifier answers.
    Cost: two queries per image for counterfactuals of other software.
    Raises: ValueError, in one message, for images without a map, names of no image, maps of another size; also for maps
        that explain another class, and for a result tree of other images.
    """

    gives = frozenset({"attribution", "counterfactual"})
    explains_again: ClassVar[bool] = False

    maps: ResultPath = None
    counterfactuals: ResultPath = None
    goal: Natural | None = None
    dataset: Dataset
    _stored: dict[str, Stored] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        channels = self.dataset.shape[0]
        given = [(kind, getattr(self, kind.key)) for kind in (MAPS, IMAGES)]
        self._stored = {kind.part: read_stored(Path(path), kind, channels) for kind, path in given if path is not None}

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterable[str]:
        if given["maps"] is None and given["counterfactuals"] is None:
            return ("maps is missing: give explainer.maps=<file or folder> or explainer.counterfactuals=<folder>",)
        return ()

    @classmethod
    def gives_for(cls, given: Mapping[str, Any]) -> frozenset[str]:
        return cls.gives if given.get("counterfactuals") is not None else cls.gives - {"counterfactual"}

    def check_images(self, images: Callable[[], Mapping[str, int]]) -> None:
        known = images()
        for kind in (MAPS, IMAGES):
            if kind.part not in self._stored:
                continue
            stored, shape = self._stored[kind.part], self.dataset.shape[-kind.n_axes :]
            entries = {name: find_entry(stored, name, position) for name, position in known.items()}
            self.refuse(kind, [*name_problems(stored, known, self.dataset), *size_problems(entries, shape)])

    def refuse(self, kind: Kind, problems: list[str]) -> None:
        """Raises ValueError with all problems of a file, if there are any."""
        if problems:
            raise ValueError(f"explainer.{kind.key}={getattr(self, kind.key)}: {'; '.join(problems)}")

    def explain(self, case: Case) -> Explanation:
        parts: dict[str, Tensor] = {}
        entries: list[list[Entry]] = []
        for kind in (MAPS, IMAGES):
            if kind.part in self._stored:
                entries.append(self.entries(case, kind))
                parts[kind.part] = torch.stack([entry.tensor() for entry in entries[-1]]).to(case.batch.image)
        counterfactual, extra = parts.get("counterfactual"), self.numbers(entries, case)
        if counterfactual is not None:
            parts.setdefault("attribution", (counterfactual - case.batch.image).abs().mean(1))
            if "flipped" not in extra:
                extra |= self.measure(case, counterfactual, extra.get("goal"))
        return Explanation(target=case.target, **parts, extra=extra)

    def entries(self, case: Case, kind: Kind) -> list[Entry]:
        """The entries of the images of a case. Raises: ValueError unless each image has one that fits."""
        batch, stored = case.batch, self._stored[kind.part]
        positions = zip(batch.image_id, batch.index.tolist(), strict=True)
        entries = {name: find_entry(stored, name, position) for name, position in positions}
        missing = [name for name, entry in entries.items() if entry is None]
        self.refuse(kind, [f"nothing for {listed(missing)}"] if missing else [])
        problems = size_problems(entries, tuple(batch.image.shape[-kind.n_axes :]))
        problems += target_problems(entries, case.target.tolist())
        self.refuse(kind, problems + image_problems(entries, batch.image))
        return list(entries.values())

    def numbers(self, entries: list[list[Entry]], case: Case) -> dict[str, Tensor]:
        """The extras that the files hold for every image."""
        images = zip(*entries, strict=True)
        rows = [{name: value for entry in image for name, value in entry.numbers.items()} for image in images]
        names = [name for name in self.number_names if all(name in row for row in rows)]
        return {name: torch.tensor([row[name] for row in rows], device=case.batch.image.device) for name in names}

    @property
    def number_names(self) -> list[str]:
        """The names of the extras that all entries of a file have."""
        files = [[*stored.named.values(), *stored.rows.values()] for stored in self._stored.values()]
        return [n for file in files for n in file[0].numbers if all(n in entry.numbers for entry in file)]

    def measure(self, case: Case, counterfactual: Tensor, goal: Tensor | None) -> dict[str, Tensor]:
        """The classes that counterfactuals were to reach, and whether the classifier assigns them to these."""
        if self.goal is not None or goal is None:
            goal = choose_goals(case, self.goal)
        answer = case.classifier.probability(counterfactual)
        goal = goal.long().to(answer.device)
        flipped = answer.argmax(1) == goal
        probability = answer.gather(1, goal[:, None])[:, 0]
        return {"goal": goal.float(), "flipped": flipped.float(), "goal_probability": probability}

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        names = self.number_names
        if self.counterfactuals is None or "flipped" in names:
            return super().cost(shape)
        return super().cost(shape) + Cost(queries=1 + int(self.goal is None and "goal" not in names))


def target_problems(entries: Mapping[str, Entry], target: list[int]) -> list[str]:
    """The entries that explain another class than the job, as at most one text."""
    pairs = [(name, entry.target, k) for (name, entry), k in zip(entries.items(), target, strict=True)]
    wrong = [f"{name} class {made}, not {k}" for name, made, k in pairs if made is not None and made != k]
    return [f"other classes are explained than target asks for: {listed(wrong)}"] if wrong else []


def image_problems(entries: Mapping[str, Entry], image: Tensor) -> list[str]:
    """The entries of a result tree whose original is another image, as at most one text."""
    wrong = []
    for (name, entry), row in zip(entries.items(), image, strict=True):
        if entry.original is not None:
            original = torch.from_numpy(read_colours(entry.original, len(row)))
            if original.shape != row.shape or float((original - row.cpu()).abs().mean()) > SAME:
                wrong.append(f"{entry.original} is not {name}")
    return [f"positions in another data set: {listed(wrong)}"] if wrong else []
