"""Which images of a data set a job is about."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

from torch import Tensor

from pomelo_lab.engine.components import Components
from pomelo_lab.engine.store import GROUP
from pomelo_lab.types import Batch

DRAW_SEED = 5  # of images=drawn: that of DiME's mini-validation set


class CorrectImages:
    """The images, in a fixed order, whose label is the classifier's most probable class.

    Answers are asked group by group and only as far as images are wanted, so that the first n do not depend on how many
    more are wanted.

    Args:
        order: indices of the data set [n], the fixed order.
        correct: whether each image of a group of that order is classified correctly: group -> bool [b].
        group_size: images of a full group.
    """

    def __init__(self, order: list[int], correct: Callable[[int], Tensor], group_size: int) -> None:
        self.order, self.correct, self.group_size = order, correct, group_size
        self.looked_at = 0  # groups
        self.known: list[int] = []

    def first(self, n: int) -> list[int]:
        """Indices of the first n correct images; fewer where the data set has no more.

        Cost: one classifier query per image that is passed, correct or not; what was asked before is remembered.
        """
        while len(self.known) < n and self.looked_at * self.group_size < len(self.order):
            start = self.looked_at * self.group_size
            right = self.correct(self.looked_at).tolist()
            self.known += [
                index for index, yes in zip(self.order[start : start + self.group_size], right, strict=True) if yes
            ]
            self.looked_at += 1
        return self.known[:n]


class DrawnImages:
    """Images drawn with replacement: an image that is drawn again is another row, with random numbers of its own.

    Source: DiME's code, utils/create-mini-val.py. On CelebA's validation split the first 1,000 are its mini-validation
        set (Table 2), which its
    code then sorts.

    Args: size: of the data set; n: draws. Those of a smaller n are the first of them.
    """

    def __init__(self, size: int, n: int) -> None:
        self.index = random.Random(DRAW_SEED).choices(range(size), k=n)
        times: Counter[int] = Counter()
        self.draw = []  # of its image: the first, the second, ...
        for i in self.index:
            times[i] += 1
            self.draw.append(times[i])

    def named(self, batch: Batch, start: int) -> Batch:
        """The images of the draws from `start` on, repeated ones under names of their own: a.jpg, a.jpg#2, a.jpg#3."""
        draws = self.draw[start : start + len(batch)]
        return replace(
            batch,
            image_id=tuple(f"{name}#{k}" if k > 1 else name for name, k in zip(batch.image_id, draws, strict=True)),
        )


class Selection:
    """The images of a job, group by group.

    They are the first ones of the data set's fixed order, (images=correct) the first ones that the classifier gets
    right, or (images=drawn) draws with replacement.

    Args:
        parts: the job's components.
        correct: whether the classifier gives each image of a group of the fixed order its label: group -> bool [b].
            It is asked for images=correct alone.
    """

    def __init__(self, parts: Components, correct: Callable[[int], Tensor]) -> None:
        self.config = parts.config
        self.parts = parts
        self.correct = correct

    @property
    def rule(self) -> str:
        """all, correct or drawn."""
        return self.config.get("images", "all")

    @property
    def draws(self) -> bool:
        """Whether the images are drawn with replacement."""
        return self.rule == "drawn"

    @property
    def chooses(self) -> bool:
        """Whether the images are those that the classifier gets right."""
        return self.rule == "correct"

    @cached_property
    def n_asked(self) -> int:
        """Images that the config asks for, or as many as the data set has; `n_images` where enough are right."""
        n = self.config["n_images"]
        return n if self.draws else min(n, len(self.parts.dataset))

    @cached_property
    def n_images(self) -> int:
        """Number of images of the job.

        Cost: images=correct asks the classifier until enough images are right.
        """
        if not self.chooses:
            return self.n_asked
        if not (chosen := self.correct_images.first(self.n_asked)):
            raise ValueError(
                f"images=correct: the classifier gives none of the {len(self.parts.dataset)} images its label; "
                f"images=all explains them"
            )
        return len(chosen)

    @property
    def n_groups(self) -> int:
        return -(-self.n_images // GROUP)

    def group_size(self, group: int, n_images: int | None = None) -> int:
        """Images of a group among the first n_images of the job."""
        return max(0, min(GROUP, min(n_images or self.n_images, self.n_images) - group * GROUP))

    def batch(self, group: int) -> Batch:
        """The images of a group, under the names that they have in the job."""
        batch = self.parts.dataset.batch(self.indices(group))
        return self.drawn_images.named(batch, group * GROUP) if self.draws else batch

    def label(self, group: int) -> Tensor:
        """The labels of a group's images, int64 [b]."""
        return self.parts.dataset.labels(self.indices(group))

    def indices(self, group: int) -> list[int]:
        """Positions of a group's images in the data set."""
        start, size = group * GROUP, self.group_size(group)
        if self.draws:
            return self.drawn_images.index[start : start + size]
        order = self.correct_images.first(start + size) if self.chooses else self.parts.dataset.order().tolist()
        return order[start : start + size]

    @cached_property
    def correct_images(self) -> CorrectImages:
        """The images of images=correct."""
        return CorrectImages(self.parts.dataset.order().tolist(), self.correct, GROUP)

    @cached_property
    def drawn_images(self) -> DrawnImages:
        """The images of images=drawn."""
        return DrawnImages(len(self.parts.dataset), self.n_asked)
