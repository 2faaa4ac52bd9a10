"""Fidelity: the deletion and insertion games, with any filler as base image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pomelo_lab.batching import index_pairs
from pomelo_lab.config.hints import Count, Range
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.metric.base import Metric
from pomelo_lab.metric.pixel_game import ask, changed_pixels, fill_steps, paste_steps, rank_in_orders, step_grid
from pomelo_lab.sampler.base import Filler


@dataclass(kw_only=True)
class Flipping(Metric):
    """The target's probability while pixels flip in the order of the attribution, area under the curve up to `bound`.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.5 and Fig. 8. First
        point: nothing flipped. Trapezoid on the flipped fraction in [0, bound], not divided by bound (the paper's 0.409
        of random maps fits only that reading). Ties are broken at random, by the same permutations for every explainer,
        and averaged. A bound between two pixels is interpolated.
    Args:
        filler: replaces flipped pixels. A filler whose context is "image" gives one base image; with the context "mask"
            every step is filled for its own mask, with its own noise.
        step_px: pixels flipped per step (the paper: 1, and 128 for in-painting).
        bound: flipped share at which the integral ends exactly, whatever step_px is.
        n_orders: number of random orders of tied pixels.
        normalized: divide the area by bound, which makes it a mean probability.
    Shapes: score gives "value" [B], "curve" and "fraction" [B,T], the curve being the mean over orders.
    Cost: at most 1 + n_orders * ceil(bound * H * W / step_px) queries per image. A step that does not cut through tied
        pixels is the same in all orders and asked once, so a map without ties costs about 1 / n_orders of this.
    Random: "tie_order" per image; the filler draws from streams named "fidelity".
    """

    needs = frozenset({"explanation", "classifier"})
    random = True
    inserts: ClassVar[bool]

    filler: Filler
    step_px: Count = 1
    bound: Annotated[float, Range(above=0, high=1)] = 0.5
    n_orders: Count = 10
    normalized: bool = False

    def score(self, case: Case) -> dict[str, Tensor]:
        attribution = self.ensure_given(case.explanation.attribution, "an attribution")
        n_px = attribution[0].numel()
        count, share = step_grid(n_px, self.step_px, self.bound)
        defined = attribution.isfinite().flatten(1).all(1)
        rank, settled = self.rank(case, attribution.where(defined[:, None, None], 0), count)
        if self.filler.context == "image":
            answers = self.answers_on_base(case, rank, count, settled)
        else:
            answers = self.answers_by_mask(case, rank, count)
        curve = answers.mean(1)  # [B,T]
        share, reached = share.to(curve), count[-1].double() / n_px
        if reached > share[-1]:  # the last step passed the bound
            curve[:, -1] = torch.lerp(curve[:, -2], curve[:, -1], (share[-1] - share[-2]) / (reached - share[-2]))
        curve.masked_fill_(~defined[:, None], math.nan)
        area = torch.trapezoid(curve, share, dim=1)
        return {
            "value": area / self.bound if self.normalized else area,
            "curve": curve.float(),
            "fraction": share.float().expand(len(curve), -1).contiguous(),
        }

    def rank(self, case: Case, attribution: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """The ranks [B,O,H,W] of all orders and whether each step is settled, see `rank_in_orders`.

        Deletion and insertion with the same steps rank once.
        """

        def draw(rows: list[int]) -> Tensor:
            ids = [case.batch.image_id[row] for row in rows]
            return case.streams.permutation(ids, "tie_order", self.n_orders, attribution[0].numel())

        def make() -> tuple[Tensor, ...]:
            ranked = rank_in_orders(attribution, count, self.n_orders, draw)
            return tuple(tensor.to(attribution.device) for tensor in ranked)

        return case.once(("rank_in_orders", self.n_orders, tuple(count.tolist())), make)

    def answers_on_base(self, case: Case, rank: Tensor, count: Tensor, settled: Tensor) -> Tensor:
        """Target probabilities float64 [B,O,T]. A step that changes the same set of pixels in every order is queried
        once."""
        image, n_steps = case.batch.image, len(count)
        filling = self.filler.filling(image, case.streams.named("fidelity"), case.batch.image_id, case.segments)
        row, index = index_pairs(len(image), 1, image.device)
        base = filling(row, torch.zeros_like(image[:, 0]), index)
        before, after = (base, image) if self.inserts else (image, base)
        asked = (~settled[:, None]).repeat(1, rank.shape[1], 1)
        asked[:, 0] = True
        row, order, step = asked.nonzero(as_tuple=True)
        images = paste_steps(before, after, changed_pixels(rank, count))
        answers = torch.zeros(asked.shape, dtype=torch.float64, device=image.device)
        answers[asked] = ask(case.classifier, images, row, order * n_steps + step, case.target).to(answers)
        return torch.where(settled[:, None], answers[:, :1], answers)

    def answers_by_mask(self, case: Case, rank: Tensor, count: Tensor) -> Tensor:
        """Target probabilities float64 [B,O,T] when the fill depends on the mask: every step of every order is
        filled."""
        image, (n_images, n_orders) = case.batch.image, rank.shape[:2]
        filling = self.filler.filling(image, case.streams.named("fidelity"), case.batch.image_id, case.segments)
        images = fill_steps(filling, changed_pixels(rank, count), self.inserts)
        row, step = index_pairs(n_images, n_orders * len(count), rank.device)
        answers = ask(case.classifier, images, row, step, case.target)
        return answers.to(rank.device).view(n_images, n_orders, -1)

    def cost(self, shape: tuple[int, int, int], n_perturbations: int) -> Cost:
        n_steps = len(step_grid(shape[1] * shape[2], self.step_px, self.bound)[0])
        n_masks = self.n_orders * len(step_grid(shape[1] * shape[2], self.step_px, self.bound)[0])
        return Cost(
            queries=1 + self.n_orders * (n_steps - 1) if self.filler.context == "image" else self.n_orders * n_steps,
            evaluations=0 if self.filler.context == "image" else self.filler.fill_cost(n_masks).evaluations,
            at_most=True,  # steps without ties are queried once for all orders; steps that remove nothing need no fill
        )


@dataclass(kw_only=True)
class Deletion(Flipping):
    """Deletion game: the image loses its most important pixels first; a lower curve is better.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.5; Samek et al.
        (2017), https://arxiv.org/abs/1509.06321, Petsiuk et al. (2018), https://arxiv.org/abs/1806.07421.
    """

    direction = "lower"
    inserts = False


@dataclass(kw_only=True)
class Insertion(Flipping):
    """Insertion game: the base gains the image's most important pixels first; a higher curve is better.

    Source: Ademi, Noppel & Wressnegger, POMELO, https://intellisec.de/research/pomelo, section 3.5; Petsiuk et al.
        (2018), https://arxiv.org/abs/1806.07421. With an in-painting filler the first point is a wholly generated
        image, averaged over n_orders draws (POMELO, Fig. 8, calls it uncertain).
    """

    direction = "higher"
    inserts = True
