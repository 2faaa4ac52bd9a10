"""Fidelity: the deletion and insertion games, with any filler as base image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, Range
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.sampler.base import Filler, every


@dataclass(kw_only=True)
class Flipping(Metric):
    """The target's probability while pixels flip in the order of the attribution, area under the curve up to `bound`.

    Source: POMELO, section 3.5 and Fig. 8. First point: nothing flipped. Trapezoid on the flipped fraction in [0,
        bound], not divided by bound (the paper's 0.409 of random maps fits only that reading). Ties are broken at
        random, by the same permutations for every explainer, and averaged. A bound between two pixels is interpolated.
    Args:
        filler: gives the base; context "image": one base image; "mask": every step is filled for its own mask, with its
            own noise.
        step_px: pixels flipped per step (the paper: 1, and 128 for in-painting).
        bound: flipped fraction where the integral ends; exact whatever step_px.
        n_orders: random orders of tied pixels.
        normalized: divide the area by bound, so that it is a mean probability.
    Shapes: score gives "value" [B], "curve" and "fraction" [B,T], the curve being the mean over orders.
    Cost: 1 + n_orders * ceil(bound * H * W / step_px) forwards per image at most: steps that end between two tied
        groups are the same for all orders and asked once, so that a map without ties costs 1 / n_orders of it.
    Random: "tie_order" per image; the filler draws from a stream of its own.
    """

    needs = frozenset({"explanation", "classifier", "segments"})
    random = True
    inserts: ClassVar[bool]

    filler: Filler
    step_px: Count = 1
    bound: Annotated[float, Range(above=0, high=1)] = 0.5
    n_orders: Count = 10
    normalized: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.filler.fill_uses_segments:
            self.needs = self.needs - {"segments"}

    def score(self, case: Case) -> dict[str, Tensor]:
        attribution = case.explanation.attribution
        if attribution is None:
            raise ValueError(f"metric {type(self).__name__} needs an attribution, and the explainer gives none")
        n_px = attribution[0].numel()
        count, fraction = (tensor.to(attribution.device) for tensor in step_grid(n_px, self.step_px, self.bound))
        defined = attribution.isfinite().flatten(1).all(1)
        orders = case.streams.permutation(case.batch.image_id, "tie_order", self.n_orders, n_px).to(attribution.device)
        rank, settled = flip_ranks(attribution.where(defined[:, None, None], 0), orders)
        if self.filler.context == "image":
            answers = self.answers_on_base(case, rank, settled[:, count], count)
        else:
            answers = self.answers_by_mask(case, rank, count)
        curve = answers.double().mean(1)  # [B,T]
        reached = count[-1].double() / n_px
        if reached > fraction[-1]:  # the last step passed the bound
            share = (fraction[-1] - fraction[-2]) / (reached - fraction[-2])
            curve[:, -1] = torch.lerp(curve[:, -2], curve[:, -1], share)
        curve.masked_fill_(~defined[:, None], math.nan)
        area = torch.trapezoid(curve, fraction, dim=1)
        return {
            "value": area / self.bound if self.normalized else area,
            "curve": curve.float(),
            "fraction": fraction.float().expand(len(curve), -1).contiguous(),
        }

    def answers_on_base(self, case: Case, rank: Tensor, settled: Tensor, count: Tensor) -> Tensor:
        """Target probabilities [B,O,T]; step images are composed when they are needed, equal ones once."""
        image, (n_orders, n_steps) = case.batch.image, (rank.shape[1], len(count))
        streams = case.streams.named("fidelity")
        row, place = every(len(image), 1, image.device)
        base = self.filler.filling(image, streams, case.batch.image_id, case.segments)(
            row, torch.zeros_like(image[:, 0]), place
        )
        flipped, rest = (image, base) if self.inserts else (base, image)
        needed = ~settled[:, None].expand(-1, n_orders, -1)
        needed = needed | (torch.arange(n_orders, device=image.device) == 0)[:, None]
        todo = needed.flatten().nonzero()[:, 0]
        ranks = rank.flatten(0, 1)

        def compose(start: int, stop: int) -> Tensor:
            index = todo[start:stop]
            order = index.div(n_steps, rounding_mode="floor")
            row = order.div(n_orders, rounding_mode="floor")
            flips = ranks[order] < count[index % n_steps][:, None, None]
            return torch.where(flips[:, None], flipped[row], rest[row])

        answers = torch.zeros(needed.numel(), device=image.device)
        row = todo.div(n_orders * n_steps, rounding_mode="floor")
        answers[todo] = case.classifier.probability_of(compose, len(todo), case.target[row]).to(answers)
        answers = answers.view(len(image), n_orders, n_steps)
        return torch.where(settled[:, None], answers[:, :1], answers)

    def answers_by_mask(self, case: Case, rank: Tensor, count: Tensor) -> Tensor:
        """Target probabilities [B,O,T] when the fill depends on the mask: every step of every order is filled."""
        (n_images, n_orders), n_steps = rank.shape[:2], len(count)
        filling = self.filler.filling(
            case.batch.image, case.streams.named("fidelity"), case.batch.image_id, case.segments
        )
        row, place = every(n_images, n_orders * n_steps, rank.device)

        def compose(start: int, stop: int) -> Tensor:
            image, index = row[start:stop], place[start:stop]
            flips = rank[image, index.div(n_steps, rounding_mode="floor")] < count[index % n_steps][:, None, None]
            keep = flips if self.inserts else ~flips
            return filling(image, keep.to(case.batch.image), index)

        return (
            case.classifier.probability_of(compose, len(row), case.target[row])
            .to(rank.device)
            .view(n_images, n_orders, n_steps)
        )

    @property
    def costs_at_most(self) -> bool:
        return True  # steps without ties are asked once for all orders, a fill of nothing needs no network

    def queries(self, shape: tuple[int, int, int], n_perturbations: int) -> int:
        n_steps = len(step_grid(shape[1] * shape[2], self.step_px, self.bound)[0])
        return 1 + self.n_orders * (n_steps - 1) if self.filler.context == "image" else self.n_orders * n_steps

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        n_masks = self.n_orders * len(step_grid(shape[1] * shape[2], self.step_px, self.bound)[0])
        return 0 if self.filler.context == "image" else self.filler.fill_evaluations(n_masks)


@dataclass(kw_only=True)
class Deletion(Flipping):
    """Deletion game: the image loses its most important pixels first; a lower curve is better.

    Source: POMELO, section 3.5; Samek et al. (2017), Petsiuk et al. (2018).
    """

    direction = "lower"
    symbol = "AUC_del"
    inserts = False


@dataclass(kw_only=True)
class Insertion(Flipping):
    """Insertion game: the base gains the image's most important pixels first; a higher curve is better.

    Source: POMELO, section 3.5; Petsiuk et al. (2018). With an in-painting filler the first point is a wholly
        generated image, averaged over n_orders draws (POMELO, Fig. 8, calls it uncertain).
    """

    direction = "higher"
    symbol = "AUC_ins"
    inserts = True


def step_grid(n_px: int, step_px: int, bound: float) -> tuple[Tensor, Tensor]:
    """Pixels flipped at each point, and the flipped fraction there: int64 [T], float64 [T].

    The last fraction is `bound` exactly; where that lies within a pixel, the last count is the next whole pixel.
    """
    exact = bound * n_px
    last = round(exact) if abs(exact - round(exact)) < 1e-6 else math.ceil(exact)
    count = torch.cat([torch.arange(0, last, step_px), torch.tensor([last])])
    return count, (count.double() / n_px).clamp_max(bound)


def flip_ranks(attribution: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
    """The position of each pixel in descending attribution, ties in the given random orders.

    Shapes: attribution [B,H,W], orders int64 [B,O,H*W] -> rank int32 [B,O,H,W], settled bool [B,H*W+1]: whether the
        first k pixels are the same set in every order (no tie across k).
    """
    value = attribution.flatten(1)
    shuffled = value[:, None].expand(orders.shape).gather(2, orders)
    pixel = orders.gather(2, shuffled.argsort(dim=2, descending=True, stable=True))  # [B,O,position]
    position = torch.arange(value.shape[1], dtype=torch.int32, device=value.device).expand(pixel.shape)
    rank = torch.empty_like(position, memory_format=torch.contiguous_format).scatter_(2, pixel, position)
    ordered = value.sort(1, descending=True).values
    ends = torch.ones_like(ordered[:, :1], dtype=torch.bool)
    settled = torch.cat([ends, ordered[:, :-1] > ordered[:, 1:], ends], 1)
    return rank.unflatten(2, attribution.shape[1:]), settled
