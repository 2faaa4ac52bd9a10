"""Which images of a data set a job is about."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

from torch import Tensor

from pomelo_lab.results.store import GROUP
from pomelo_lab.science import Sciences


class CorrectImages:
    """The images, in a fixed order, whose label is the classifier's most probable class.

    Answers are asked group by group and only as far as images are wanted, so that the first n do not depend on how many more are wanted.

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
        """Indices of the first n of them; fewer where the data set has no more.

        Cost: one classifier query per image that is passed, correct or not; what was asked before is remembered.
        """
        while len(self.known) < n and self.looked_at * self.group_size < len(self.order):
            start = self.looked_at * self.group_size
            right = self.correct(self.looked_at).tolist()
            self.known += [index for index, yes in zip(self.order[start : start + self.group_size], right, strict=True) if yes]
            self.looked_at += 1
        return self.known[:n]


class Selection(Sciences):
    """The images of a job, group by group: the first of the data set's fixed order, or (images=correct) the first that the classifier gets right."""

    @property
    @abstractmethod
    def whole(self) -> Any:
        """The same job on all images, right or wrong."""

    @cached_property
    def correct_images(self) -> CorrectImages:
        """What images=correct chooses from; the classifier's answers are the stored ones of `whole`."""
        whole = self.whole

        def correct(group: int) -> Tensor:
            right = whole.clean(group).argmax(-1) == whole.batch(group).label
            whole.forget()
            return right

        return CorrectImages(self.dataset.order().tolist(), correct, GROUP)

    @cached_property
    def n_images(self) -> int:
        """As many images as are asked for, or as there are."""
        if not self.chooses:
            return self.n_asked
        if not (chosen := self.correct_images.first(self.n_asked)):
            raise ValueError(f"images=correct: the classifier gives none of the {len(self.dataset)} images its label; images=all explains them")
        return len(chosen)

    @property
    def n_groups(self) -> int:
        return -(-self.n_images // GROUP)

    def group_size(self, group: int, n_images: int | None = None) -> int:
        """Images of a group among the first n_images of the job."""
        return max(0, min(GROUP, min(n_images or self.n_images, self.n_images) - group * GROUP))

    def indices(self, group: int) -> list[int]:
        """Positions of a group's images in the data set."""
        start, size = group * GROUP, self.group_size(group)
        order = self.correct_images.first(start + size) if self.chooses else self.dataset.order().tolist()
        return order[start : start + size]
