"""Boxes around the strongest part of an attribution, and thresholds chosen on held-out images."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, Fraction, Range
from pomelo_lab.metric.base import Metric, Summary, mean_summary
from pomelo_lab.types import tight_box


@dataclass(kw_only=True)
class Thresholded(Metric, ABC):
    """A lower-is-better score of the box around all pixels of at least alpha times the map's maximum.

    alpha is chosen on held-out images, the last ones of the job, which are not scored.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 4.3 (alpha in 0:0.05:0.95, 1,000 held-out
        and 2,000 scored images); Fong & Vedaldi (2017), https://arxiv.org/abs/1704.03296. Departures: none. Pixels
        equal to the threshold are selected, which the paper does not state.
    Args:
        n_alphas: number n of candidates 0, 1/n, ..., (n-1)/n.
        alpha: a fixed threshold instead of the candidates.
        held_out: share of the images on which alpha is chosen.
        region: "all" pixels above the threshold share one box, or only the "largest" connected (4-neighbour) group of
            them.
    Shapes: score gives "candidates" [B,n_alphas], the score at every alpha.
    """

    direction: ClassVar = "lower"

    n_alphas: Count = 20
    alpha: Annotated[float, Range(low=0, high=1)] | None = None
    held_out: Fraction = 1 / 3
    region: Literal["all", "largest"] = "all"

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports the absence of both a fixed alpha and images to choose it on."""
        if given["alpha"] is None and given["held_out"] == 0:
            yield "held_out must be > 0 unless alpha is given, got 0"

    @property
    def alphas(self) -> list[float]:
        return [self.alpha] if self.alpha is not None else [i / self.n_alphas for i in range(self.n_alphas)]

    def boxes(self, attribution: Tensor) -> Tensor:
        """The box at every alpha: [B,H,W] -> [B,A,4].

        A map without a positive value marks the whole image; NaN maps give NaN.
        """
        _, height, width = attribution.shape
        top = attribution.amax((1, 2))
        level = top[:, None] * torch.tensor(self.alphas, device=top.device, dtype=top.dtype)
        above = attribution[:, None] >= level[..., None, None]
        if self.region == "largest":
            above = torch.stack([largest_group(mask) for mask in above.flatten(0, 1)]).view_as(above)
        box = tight_box(above)
        whole = box.new_tensor([0, 0, width, height])
        box = torch.where((top > 0)[:, None, None], box, whole)
        return box.masked_fill(~attribution.isfinite().flatten(1).all(1)[:, None, None], torch.nan)

    def n_scored(self, n: int) -> int:
        """Number of scored images; alpha is chosen on the others."""
        return n if self.alpha is not None else n - max(1, round(self.held_out * n))

    def choose_alpha(self, candidates: Tensor) -> int:
        """The index of the alpha with the lowest mean score on the held-out images; the smallest of several."""
        if self.alpha is not None:
            return 0
        held = candidates[self.n_scored(len(candidates)) :].double()
        held = held[held.isfinite().all(1)]
        return int(held.mean(0).argmin()) if len(held) else 0

    def values(self, rows: Mapping[str, Tensor]) -> Tensor:
        candidates = rows["candidates"]
        return candidates[: self.n_scored(len(candidates)), self.choose_alpha(candidates)]

    def groups(self, n: int) -> tuple[int, ...]:
        return (self.n_scored(n), n - self.n_scored(n))

    def usable(self, rows: Mapping[str, Tensor]) -> Tensor:
        return rows["candidates"].isfinite().all(1)

    def resampled(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor], weights: Tensor) -> Tensor:
        """The score of each resample. alpha is chosen on its held-out images, and its other images are scored with
        it."""
        candidates, n = rows["candidates"].double().nan_to_num(0, 0, 0), self.n_scored(len(rows["candidates"]))
        scored = weights[:, :n] @ candidates[:n]  # [R,A]
        held = weights[:, n:] @ candidates[n:] if n < len(candidates) else torch.zeros_like(scored)
        return scored.gather(1, held.argmin(1, keepdim=True)).squeeze(1)

    def summarize(self, rows: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Summary:
        candidates = rows["candidates"]
        summary = mean_summary(self.values(rows))
        details = {
            "alpha": self.alphas[self.choose_alpha(candidates)],
            "held_out": float(len(candidates) - self.n_scored(len(candidates))),
        }
        return Summary(summary.mean, summary.std, summary.n, summary.n_nan, details)


def largest_group(mask: Tensor) -> Tensor:
    """The largest connected group of True pixels, the first of equals: bool [H,W] -> the same."""
    from scipy import ndimage

    label, n = ndimage.label(mask.cpu().numpy())
    if n < 2:
        return mask
    sizes = torch.bincount(torch.from_numpy(label).flatten().long(), minlength=n + 1)[1:]
    return torch.from_numpy(label == int(sizes.argmax()) + 1).to(mask.device)


def area(box: Tensor) -> Tensor:
    """The area of boxes in pixels: [...,4] -> [...]; 0 for a box without extent."""
    return (box[..., 2:] - box[..., :2]).clamp_min(0).prod(-1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast: [...,4], [...,4] -> [...]."""
    both = area(torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], -1))
    return both / (area(a) + area(b) - both)
