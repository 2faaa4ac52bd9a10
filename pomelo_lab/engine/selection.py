"""The selection of a job's images from its data set."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

from torch import Tensor

from pomelo_lab.engine.components import Components
from pomelo_lab.engine.store import GROUP
from pomelo_lab.types import Batch

DRAW_SEED = 5  # the seed of images=drawn, taken from DiME's mini-validation set


class CorrectImages:
    """The images that the classifier gets right, in a fixed order.

    The classifier processes one group of images after another, until enough images are found. The first n images
    therefore do not depend on the number of images that are needed later.

    Args:
        order: indices of the data set [n] in the fixed order.
        correct: whether each image of a group is classified correctly: group -> bool [b].
        group_size: images of a full group.
    """

    def __init__(self, order: list[int], correct: Callable[[int], Tensor], group_size: int) -> None:
        self.order, self.correct, self.group_size = order, correct, group_size
        self.looked_at = 0  # number of groups that the classifier has processed
        self.known: list[int] = []

    def first(self, n: int) -> list[int]:
        """The indices of the first n correct images. There are fewer when the data set has fewer correct images.

        Cost: one classifier query for each image up to the last one, correct or not. Earlier results are remembered.
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
    """Images that are drawn with replacement. An image that is drawn twice has two rows, with different random numbers.

    Source: DiME's code, utils/create-mini-val.py. The first 1,000 draws from CelebA's validation split are DiME's
    mini-validation set (Table 2). DiME's code then sorts them; this class does not.

    Args:
        size: the size of the data set.
        n: the number of draws. A smaller number gives the first of the same draws.
    """

    def __init__(self, size: int, n: int) -> None:
        self.index = random.Random(DRAW_SEED).choices(range(size), k=n)
        times: Counter[int] = Counter()
        self.draw = []  # 1 for the first draw of an image, 2 for its second draw, ...
        for i in self.index:
            times[i] += 1
            self.draw.append(times[i])

    def name_repeated(self, names: Sequence[str], start: int) -> tuple[str, ...]:
        """Renames repeated images: a.jpg, a.jpg#2, a.jpg#3.

        Args: names: the images of the draws; start: the number of the first of these draws.
        """
        draws = self.draw[start : start + len(names)]
        return tuple(f"{name}#{k}" if k > 1 else name for name, k in zip(names, draws, strict=True))


class Selection:
    """The images of a job, in groups.

    With images=all, they are the first images of the data set's fixed order. With images=correct, they are the first
    images that the classifier gets right. With images=drawn, they are drawn with replacement.

    Args:
        parts: the job's components.
        correct: whether the classifier predicts the label of each image of a group of the fixed order: group -> bool
            [b]. It is only called for images=correct.
    """

    def __init__(self, parts: Components, correct: Callable[[int], Tensor]) -> None:
        self.config = parts.config
        self.parts = parts
        self.correct = correct

    @property
    def rule(self) -> str:
        """The rule that selects images: all, correct or drawn."""
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
        """The number of images that the config asks for, at most the size of the data set unless they are drawn."""
        n = self.config["n_images"]
        return n if self.draws else min(n, len(self.parts.dataset))

    @cached_property
    def n_images(self) -> int:
        """The number of the job's images. With images=correct it can be smaller than the config asks for.

        Cost: with images=correct, classifier queries until enough correct images are found.
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
        """The number of a group's images that are among the first n_images of the job (None = all of the job)."""
        return max(0, min(GROUP, min(n_images or self.n_images, self.n_images) - group * GROUP))

    def batch(self, group: int) -> Batch:
        """The images of a group, with their names in the job."""
        batch = self.parts.dataset.batch(self.indices(group))
        if not self.draws:
            return batch
        return replace(batch, image_id=self.drawn_images.name_repeated(batch.image_id, group * GROUP))

    def image_ids(self) -> dict[str, int]:
        """The names of the job's images in their order, with their positions in the data set."""
        indices = [index for group in range(self.n_groups) for index in self.indices(group)]
        names = self.parts.dataset.image_ids(indices)
        return dict(zip(self.drawn_images.name_repeated(names, 0) if self.draws else names, indices, strict=True))

    def label(self, group: int) -> Tensor:
        """The labels of a group's images, int64 [b]."""
        return self.parts.dataset.labels(self.indices(group))

    def indices(self, group: int) -> list[int]:
        """The indices of a group's images in the data set."""
        start, size = group * GROUP, self.group_size(group)
        if self.draws:
            return self.drawn_images.index[start : start + size]
        order = self.correct_images.first(start + size) if self.chooses else self.parts.dataset.order().tolist()
        return order[start : start + size]

    @cached_property
    def correct_images(self) -> CorrectImages:
        """The selection for images=correct."""
        return CorrectImages(self.parts.dataset.order().tolist(), self.correct, GROUP)

    @cached_property
    def drawn_images(self) -> DrawnImages:
        """The selection for images=drawn."""
        return DrawnImages(len(self.parts.dataset), self.n_asked)
