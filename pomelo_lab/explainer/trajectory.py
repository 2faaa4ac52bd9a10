"""A record of the steps of a guided denoising chain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pomelo_lab.types import to_8_bits

TERMS = ("class", "perceptual", "distance")  # terms of the guidance, in the order of the stored norms


class Trajectory:
    """Noisy images, clean estimates and the norms of the guidance terms at some steps of a chain.

    Source: Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, Fig. 1 (z_t and x_t), whose code
        can save them. The norms are our addition: a term whose norm stays far below the others has no effect.
    Args:
        n: number of recorded steps, evenly from the first to the last; 0 = none.
        steps: steps of the chain, which are counted down to 1.
        like: images [B,C,H,W], for shapes and the device.
        weighs: whether the guidance has a class term and a perceptual term to compare.
    Shapes: `tensors`: "noisy" and "clean" uint8 [B,P,C,H,W], 8 bits of [0,1]; "push" [B,P,3], Euclidean norms of the
        `TERMS` as they enter the step; "place" [B,P], remaining steps; "perceptual_share" [B], the perceptual term's
        mean norm over all steps divided by the class term's, only if `weighs`.
    """

    def __init__(self, n: int, steps: int, like: Tensor, weighs: bool) -> None:
        count, self.weighs = min(n, steps), weighs
        self.places = [round(steps - i * (steps - 1) / max(1, count - 1)) for i in range(count)]
        size, shape = len(like), like.shape[1:]
        self.noisy, self.clean = (
            torch.zeros(size, count, *shape, dtype=torch.uint8, device=like.device) for _ in range(2)
        )
        self.push = torch.zeros(size, count, len(TERMS), device=like.device)
        self.sums = torch.zeros(size, len(TERMS), device=like.device)

    def begin(self, rows: Tensor) -> None:
        """Starts a new try for some of the images."""
        self.sums[rows] = 0

    def add(self, rows: Tensor, step: int, noisy: Tensor, clean: Tensor, terms: Sequence[Tensor]) -> None:
        """Records the state before a step: the noisy image and the clean estimate, both in [-1,1], and the terms of
        the guidance."""
        if not self.places:
            return
        norms = torch.stack([term.flatten(1).norm(dim=1) for term in terms], 1).float()
        self.sums[rows] += norms
        if step in self.places:
            slot = self.places.index(step)
            self.noisy[rows, slot], self.clean[rows, slot], self.push[rows, slot] = (
                eight_bits(noisy),
                eight_bits(clean),
                norms,
            )

    def tensors(self) -> dict[str, Tensor]:
        """The recorded tensors by name, image axis first; empty when nothing is recorded."""
        if not self.places:
            return {}
        steps_left = torch.tensor(self.places, dtype=torch.float32, device=self.push.device).repeat(len(self.push), 1)
        share = {"perceptual_share": self.sums[:, 1] / self.sums[:, 0]} if self.weighs else {}
        return {"noisy": self.noisy, "clean": self.clean, "push": self.push, "place": steps_left, **share}


def eight_bits(x: Tensor) -> Tensor:
    """Converts images in [-1,1] to 8 bits."""
    return to_8_bits((x + 1) / 2)
