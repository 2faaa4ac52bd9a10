"""A classifier's answers: their log odds, and their check."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pomelo_lab.types import ensure_images

LEAST = 1e-7  # bounds probabilities, which black boxes answer in float32, before their log-odds are taken


def log_odds(probability: Tensor) -> Tensor:
    """The log odds of probabilities, log p - log(1 - p), bounded so that they are finite.

    `WhiteBox.log_odds` computes exact ones from logits.
    """
    return torch.logit(probability.double(), eps=LEAST).float()


class NotProbabilities(ValueError):
    """A classifier answered NaN, infinity, or a number that is no probability.

    Args: value: the first such answer; row: index of its image among those asked; n: number of images asked.
    """

    expected = "expected finite probabilities in [0,1]"

    def __init__(self, value: float, row: int, n: int) -> None:
        super().__init__(f"the classifier answers {value:.3g} for image {row} of {n}: {self.expected}")
        self.value, self.row, self.n = value, row, n


def check_probabilities(probabilities: Tensor, limit: float, make: Callable[[int, int], Tensor]) -> None:
    """Raises NotProbabilities for answers [n,...] that are not finite or lie beyond [0,1] by `limit`.

    Args: make: (start, stop) -> the images [stop-start,C,H,W]. NaN among them is reported as theirs.
    """
    right = (probabilities > -limit) & (probabilities < 1 + limit)  # False for NaN
    if not right.all():
        wrong = int((~right).flatten().nonzero()[0])
        row = wrong // right[0].numel()
        asked = make(row, row + 1)
        if not asked.isfinite().all():
            ensure_images(asked)  # the classifier answers NaN because it is asked NaN
        raise NotProbabilities(float(probabilities.flatten()[wrong]), row, len(probabilities))
