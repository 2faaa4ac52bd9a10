"""Weighted sums of gradients at many points of each image: images times points are one batch axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pomelo_lab.batching import index_pairs, runs
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gradient import gradient

# (image number int64 [M], point int64 [M]) -> images [M,C,H,W], weights that multiply their gradients
Points = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | float]]


def sum_gradients(module: nn.Module, case: Case, n_points: int, points: Points) -> Tensor:
    """The weighted sum of the gradients at n points of each image: float32 or float64 [B,C,H,W], as the images.

    The rows of all images are one axis, which only the micro-batches cut. Gradients are added in float64 in the order
    of the points, so that the sum does not depend on the cuts.

    Cost: n_points forward and backward passes per image. A micro-batch of fewer than n_points rows is taken only when
        memory runs out, or when a trial found it faster.
    """
    image, classifier = case.batch.image, case.classifier
    row, point = index_pairs(len(image), n_points, image.device)
    total = torch.zeros_like(image, dtype=torch.float64)

    def part(start: int, stop: int) -> Tensor:
        rows = row[start:stop]
        images, weight = points(rows, point[start:stop])
        slope = gradient(module, images, case.target[rows]) * weight
        total.index_add_(0, rows, slope.double())
        return total.new_empty(stop - start, 0)

    classifier.gradients.rows(part, len(row), at_least=n_points)
    return total.to(image.dtype)


class PointDraws:
    """Random numbers of points, drawn for a whole image when its first point comes and dropped after its last.

    Args: draw: the numbers [1,n,...] of one image, given its id.
    """

    def __init__(self, image_ids: Sequence[str], draw: Callable[[str], Tensor]) -> None:
        self.image_ids, self.draw = image_ids, draw
        self.held: dict[int, Tensor] = {}

    def __call__(self, row: Tensor, point: Tensor) -> Tensor:
        """The numbers of M points: image number int64 [M], point int64 [M] -> [M,...]."""
        parts = list(runs(row))
        self.held = {i: self.held[i] if i in self.held else self.draw(self.image_ids[i])[0] for i, _ in parts}
        return torch.cat([self.held[i][point[rows].to(self.held[i].device)] for i, rows in parts])
