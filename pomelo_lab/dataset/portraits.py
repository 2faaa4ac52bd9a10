"""Portraits: rendered faces with known causes."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, Natural, OmitDefault, Range
from pomelo_lab.config.signature import did_you_mean
from pomelo_lab.dataset.base import Dataset, Split
from pomelo_lab.dataset.causal_model import CausalModel, uniforms
from pomelo_lab.dataset.portraits_causes import ATTRIBUTES, CAUSES, HAIR_COLORS, MARK, mark_cause
from pomelo_lab.dataset.portraits_render import PARTS, render
from pomelo_lab.types import Batch

SMALLEST_PART, LARGEST_PART = 8, 128  # images that one thread renders at once
MOST_THREADS = 4  # more of them wait for the interpreter: 16 rendered 480 images/s where 4 rendered 1,000
HAIR = "hair_color"
NO_MARK = {"attribute": None, "rate": 0.5}


@functools.cache
def renderers(workers: int, process: int) -> ThreadPoolExecutor:
    """Threads that render parts of a batch, one core each.

    Painting consists of hundreds of small elementwise operations. Threads that synchronise after each operation mostly
    wait (on shared cores a hundred times longer). Threads that render separate images never synchronise. The pixels are
    the same bits.
    """
    return ThreadPoolExecutor(workers, "renderer", initializer=lambda: torch.set_num_threads(1))


@dataclass(kw_only=True)
class Portraits(Dataset):
    """Procedural faces with a structural causal model, exact masks and re-rendering; the label is the hair colour.

    Source: ours; the dependencies follow CelebA's (gray hair with age, lipstick with earrings), see portraits_causes.
    Args:
        split: train, val and test draw disjoint noise.
        size_px: height and width; the same person at any resolution.
        seed: another seed is another population from the same causal model.
        n_train, n_val, n_test: images per split (a shorter split is a prefix of a longer one).
        label: what the label is: hair_color (five classes), or an attribute such as Smiling or Young (absent, present).
        spurious: {attribute, rate}: a coloured mark in the lower left corner, present with probability `rate` where the
            attribute (or class) holds and 1 - rate elsewhere; attribute null = no marks. Where there are marks, Mark is
            the last attribute.
    Shapes: image [B,3,size_px,size_px] on the 8-bit grid k/255; masks: the disjoint `part_names`, and "label", the
        exact region that the label's causes decide: pixels that change with them (eight values of a continuous one are
        tried; never empty; for bald people where hair would be).
    Cost:   500 to 750 images/s at 64x64 on two cores, by the hundred; `make bench` measures it.
    Random: counter-based in (seed, split, index, cause): an image is the same bits alone, in any batch, in any order.
    """

    split: Split = "val"
    size_px: Annotated[int, Range(low=16)] = 64
    seed: Natural = 0
    n_train: Count = 20000
    n_val: Count = 4000
    n_test: Count = 4000
    label: Annotated[str, OmitDefault()] = HAIR
    spurious: dict[str, Any] = field(default_factory=lambda: dict(NO_MARK))

    provides: ClassVar[frozenset[str]] = frozenset({"label", "masks", "attributes", "factors"})
    class_names: ClassVar[tuple[str, ...]] = HAIR_COLORS  # of the default label
    attribute_names: ClassVar[tuple[str, ...]] = tuple(ATTRIBUTES)
    part_names: ClassVar[tuple[str, ...]] = PARTS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.class_names = self.classes({"label": self.label})
        self.spurious = {**NO_MARK, **self.spurious}
        marks = MARK if self.spurious["attribute"] else {}
        self.model = CausalModel(
            (*CAUSES, mark_cause(self.spurious["attribute"], float(self.spurious["rate"]))), {**ATTRIBUTES, **marks}
        )
        self.attribute_names = tuple(self.model.events)

    @classmethod
    def config_problems(cls, given: dict) -> Iterator[str]:
        """Reports problems of `label` and `spurious`."""
        spurious = given["spurious"] or {}
        if given["label"] not in (HAIR, *ATTRIBUTES):
            known = f"{HAIR} or an attribute ({', '.join(ATTRIBUTES)})"
            yield (
                f"label must be {known}, got {given['label']!r}{did_you_mean(str(given['label']), (HAIR, *ATTRIBUTES))}"
            )
        unknown = [key for key in spurious if key not in NO_MARK]
        yield from (
            f"spurious.{key} is unknown{did_you_mean(str(key), NO_MARK)}; it takes attribute, rate" for key in unknown
        )
        names = (*ATTRIBUTES, *HAIR_COLORS)
        attribute, rate = spurious.get("attribute"), spurious.get("rate", 0.5)
        if attribute is not None and attribute not in names:
            near = did_you_mean(str(attribute), names)
            yield f"spurious.attribute must be null or one of {', '.join(names)}, got {attribute!r}{near}"
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            yield f"spurious.rate must be a number in [0, 1], got {rate!r}"

    @classmethod
    def classes(cls, given: dict) -> tuple[str, ...]:
        label = given.get("label", HAIR)
        return HAIR_COLORS if label == HAIR else (f"not {label}", label)

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.size_px, self.size_px

    def __len__(self) -> int:
        return {"train": self.n_train, "val": self.n_val, "test": self.n_test}[self.split]

    def digest(self) -> str:
        return f"portraits-r{self.revision}"

    def factors(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The causes of the people at `indices`: name -> [B], and "noise" [B,F], the uniform numbers that determine
        them."""
        index = torch.as_tensor(list(indices), dtype=torch.long)
        if len(index) and not (0 <= int(index.min()) and int(index.max()) < len(self)):
            raise IndexError(
                f"indices of the {self.split} split must lie in [0, {len(self)}), got "
                f"{int(index.min())}..{int(index.max())}"
            )
        return self.model.draw(uniforms(self.seed, self.split, index, self.model.causes))

    def render(self, factors: Mapping[str, Tensor], with_masks: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """Renders people from their causes: image float32 [B,3,H,W] and masks (bool [B,H,W] by name), which are
        empty without masks."""
        n, workers = len(factors["hair_color"]), min(torch.get_num_threads(), MOST_THREADS)
        if workers == 1 or n < 2 * SMALLEST_PART or factors["hair_color"].device.type != "cpu":
            return render(factors, self.size_px, with_masks)
        size = min(LARGEST_PART, -(-n // workers))
        parts = [{name: value[start : start + size] for name, value in factors.items()} for start in range(0, n, size)]
        rendered = list(renderers(workers, os.getpid()).map(lambda part: render(part, self.size_px, with_masks), parts))
        masks = {name: torch.cat([part_masks[name] for _, part_masks in rendered]) for name in rendered[0][1]}
        return torch.cat([image for image, _ in rendered]), masks

    def batch(self, indices: Sequence[int]) -> Batch:
        return self._batch(indices, with_masks=True)

    def unmasked(self, indices: Sequence[int]) -> Batch:
        return self._batch(indices, with_masks=False)

    def image_ids(self, indices: Sequence[int]) -> tuple[str, ...]:
        name = f"portraits-{self.split}" + (f"-s{self.seed}" if self.seed else "")
        return tuple(f"{name}-{int(i):08d}" for i in indices)

    def labels(self, indices: Sequence[int]) -> Tensor:
        return self.compute_labels(self.factors(indices))

    def read_attributes(self, indices: Sequence[int]) -> Tensor:
        return self.model.attributes(self.factors(indices))

    def compute_labels(self, factors: Mapping[str, Tensor]) -> Tensor:
        """Labels [B] of people with the given causes."""
        if self.label == HAIR:
            return factors[HAIR]
        return self.model.attributes(factors)[:, self.attribute_names.index(self.label)].long()

    def _batch(self, indices: Sequence[int], with_masks: bool) -> Batch:
        if not len(indices):
            return self._batch([0], with_masks).select(slice(0, 0))
        factors = self.factors(indices)
        image, masks = self.render(factors, with_masks)
        if masks and self.label != HAIR:
            masks["label"] = self.mark_deciding(factors, image, ATTRIBUTES[self.label])
        return Batch(
            image=image,
            label=self.compute_labels(factors),
            image_id=self.image_ids(indices),
            index=torch.as_tensor(list(indices), dtype=torch.long),
            masks=masks,
            attributes=self.model.attributes(factors),
            factors=factors,
        )

    def intervene(
        self, factors: Mapping[str, Tensor], changes: Mapping[str, object], propagate: bool = False
    ) -> dict[str, Tensor]:
        """Sets some causes of the same people (state name, number or [B]); see CausalModel.intervene."""
        return self.model.intervene(factors, changes, propagate)

    def resample(self, factors: Mapping[str, Tensor], names: Sequence[str], u: Tensor) -> dict[str, Tensor]:
        """Makes N versions of each person with the named causes redrawn from u [B,N,len(names)]; see
        CausalModel.resample."""
        return self.model.resample(factors, names, u)

    def causal_mask(self, batch: Batch, factor: str, n: int = 8) -> Tensor:
        """Marks the pixels that change when only `factor` takes any other value: bool [B,H,W].

        Args:
            factor: name of a cause; the mask is exact for categorical causes.
            n: number of values of a continuous cause that are tried, spread over its range.
        Cost: one rendering without masks per value.
        """
        self.model.check([factor])
        return self.mark_deciding(batch.factors, batch.image, [factor], n)

    def mark_deciding(self, factors: Mapping[str, Tensor], image: Tensor, names: Iterable[str], n: int = 8) -> Tensor:
        """Marks the pixels of the image that change when one of the causes takes another value: bool [B,H,W]."""
        changed = torch.zeros_like(image[:, 0], dtype=torch.bool)
        for name in names:
            for value in self.model.causes[name].values(n):
                changed |= (
                    self.render(self.model.intervene(factors, {name: value}), with_masks=False)[0] != image
                ).any(1)
        return changed

    def group(self, *groups: str) -> tuple[str, ...]:
        """Names of the causes in some groups: person, style (identity), expression, pose, scene (nuisance)."""
        known = {cause.group for cause in self.model.causes.values()}
        for group in groups:
            if group not in known:
                raise ValueError(
                    f"unknown group {group!r}{did_you_mean(group, known)}; known: {', '.join(sorted(known))}"
                )
        return tuple(name for name, cause in self.model.causes.items() if cause.group in groups)

    def attribute_correlation(self) -> Tensor:
        """The true correlation of the attributes, float64 [A,A]: exact, by enumeration of the causal model."""
        return self.model.attribute_correlation()
