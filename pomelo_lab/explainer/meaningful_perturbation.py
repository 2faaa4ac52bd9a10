"""Meaningful perturbation: the smallest smooth mask whose removal destroys the target's probability."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, Natural, NonNegative, Positive
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import record
from pomelo_lab.explainer.postprocessed import Postprocessed
from pomelo_lab.explainer.removal import RemovalExplainer, enlarge
from pomelo_lab.sampler.base import Filling
from pomelo_lab.types import Explanation

RADII = torch.arange(0, 171, 5) / 224  # radii of the circular start, as fractions of the side
SUPPRESSED = 1e-2  # share of the probability that may remain when the first circle is removed


@dataclass(kw_only=True)
class MeaningfulPerturbationExplainer(Postprocessed, RemovalExplainer):
    """MP: optimises a coarse keep mask by gradient descent. The removed region becomes small and smooth, and its
    removal lowers the target's probability.

    Source: Fong & Vedaldi (2017), https://arxiv.org/abs/1704.03296, eq. 3, and its code; Agarwal & Nguyen (2020),
        https://arxiv.org/abs/1910.04256, eq. 3. The loss is l1 * sum |1 - m| + tv * sum |grad m|^3 + p(target),
        minimised by Adam with steps of 0.1, and m is clamped to [0,1] after each step. Eq. 3 has an expectation over
        shifts of 0 to 4 pixels. Like the published code, this one draws a shift of 0 to 3 pixels in each step.
        Departures: the shifted image repeats its border (the code crops a slightly larger image). The images of a batch
        are optimised together.
    Args:
        mask_px: cells of the mask along each side.
        n_steps: steps of the descent.
        lr: learning rate of Adam.
        l1: weight of the removed share, summed over cells.
        tv, tv_power: weight and power of the differences between neighbouring cells, summed.
        jitter: each step uses the image shifted by 0..jitter-1 pixels, down and right; 0 or 1 = no shift.
        upsample: interpolation from cells to pixels during the descent (the code: nearest).
        map_upsample: interpolation from cells to pixels of the map; Agarwal & Nguyen use bilinear.
        init: "uniform" noise, or "circular": the smallest centred disc whose removal leaves at most 1 % of the
            removable probability.
    Shapes: attribution [B,H,W] is 1 - m, enlarged. extra: "mask" [B,mask_px,mask_px]; "probability" [B] of the image
        without the removed region; with two steps or more also "loss" [B,n_steps] and "moving" [B] (see
        `convergence.record`).
    Cost: n_steps forward passes, backward passes and fills per image (35 more to search the circle), plus one of each.
        Batches hold no more images than fit into memory.
    Random: start and jitter per image ("mp"), and the filler's draws.
    """

    access: ClassVar[str] = "white_box"
    postprocess_arguments = frozenset({"map_upsample"})
    revision: ClassVar[int] = 2  # 1 stored no loss

    mask_px: Count = 28
    n_steps: Natural = 300
    lr: Positive = 0.1
    l1: NonNegative = 1e-4
    tv: NonNegative = 1e-2
    tv_power: Positive = 3.0
    jitter: Natural = 4
    upsample: Literal["nearest", "bilinear"] = "nearest"
    init: Literal["uniform", "circular"] = "uniform"
    map_upsample: Literal["nearest", "bilinear"] = "bilinear"

    def explain(self, case: Case) -> Explanation:
        target, classifier = case.target, case.classifier

        def part(start: int, stop: int) -> tuple[Tensor, Tensor]:
            chunk = case.select(slice(start, stop))
            return self.optimize(chunk, chunk.filling(self.sampler))

        mask, loss = classifier.forwards.rows(part, len(case))
        filling = case.filling(self.sampler)
        every_row, last = torch.arange(len(case), device=mask.device), torch.full_like(target, self.n_steps)
        keep = enlarge(mask, case.batch.image.shape[-2:], self.upsample)

        def without(start: int, stop: int) -> Tensor:
            return filling(every_row[start:stop], keep[start:stop], last[start:stop])

        left = classifier.probability_of(without, len(case), target)
        extra = {"mask": mask, "probability": left, **record(loss)}
        return self.postprocess(Explanation(target=target, attribution=1 - keep, extra=extra))

    def postprocess(self, explanation: Explanation) -> Explanation:
        """Converts a stored mask to a map."""
        removed = 1 - explanation.extra["mask"]
        return replace(explanation, attribution=enlarge(removed, explanation.attribution.shape[-2:], self.map_upsample))

    @torch.enable_grad()
    def optimize(self, case: Case, filling: Filling) -> tuple[Tensor, Tensor]:
        """Optimises keep masks [B,k,k] and records the loss before each step [B,n_steps].

        Adam treats each value by itself, so images of a batch do not influence each other.
        """
        image, target = case.batch.image, case.target
        row = torch.arange(len(case), device=image.device)
        shift = (
            (case.streams.uniform(case.batch.image_id, "mp.jitter", max(1, self.n_steps), 2) * max(1, self.jitter))
            .long()
            .to(image.device)
        )
        mask = self.start_mask(case, filling).requires_grad_(True)
        optimizer, losses = torch.optim.Adam([mask], lr=self.lr), [mask.new_zeros(len(case), 0)]
        for step in range(self.n_steps):
            seen = filling.blend(row, enlarge(mask, image.shape[-2:], self.upsample), torch.full_like(row, step))
            answer = case.classifier.differentiable_probability(translate(seen, shift[:, step]))
            loss = self.penalty(mask) + answer.gather(1, target[:, None])[:, 0]
            losses.append(loss.detach()[:, None])
            (mask.grad,) = torch.autograd.grad(loss.sum(), mask)
            optimizer.step()
            with torch.no_grad():
                mask.clamp_(0, 1)
        return mask.detach(), torch.cat(losses, 1)

    def penalty(self, mask: Tensor) -> Tensor:
        """The terms of the loss that depend on the mask only: [B,k,k] -> [B]."""
        differences = (mask.diff(dim=1).abs() ** self.tv_power).sum((1, 2)) + (
            mask.diff(dim=2).abs() ** self.tv_power
        ).sum((1, 2))
        return self.l1 * (1 - mask).abs().sum((1, 2)) + self.tv * differences

    @torch.no_grad()
    def start_mask(self, case: Case, filling: Filling) -> Tensor:
        """The first keep mask [B,k,k]."""
        image = case.batch.image
        if self.init == "uniform":
            return case.streams.uniform(
                case.batch.image_id, "mp.start", self.mask_px, self.mask_px, device=image.device
            )
        axis = (torch.arange(self.mask_px, device=image.device) + 0.5) / self.mask_px - 0.5
        away = (axis[:, None] ** 2 + axis**2).sqrt()
        row = torch.arange(len(case), device=image.device)
        ring = 1 / self.mask_px  # soft edge of one cell
        masks = torch.stack(
            [
                ((away - radius) / ring + 0.5).clamp(0, 1) if radius else torch.ones_like(away)
                for radius in RADII.tolist()
            ]
        )
        masks = torch.cat([masks, torch.zeros_like(masks[:1])])  # the last one removes all
        answers = []
        for number, mask in enumerate(masks):
            keep = enlarge(mask[None], image.shape[-2:], self.upsample).expand(len(case), -1, -1)
            filled = filling(row, keep, torch.full_like(row, self.n_steps + 1 + number))
            answers.append(
                case.classifier.probability_of(
                    lambda start, stop, filled=filled: filled[start:stop], len(row), case.target
                )
            )
        answer = torch.stack(answers, 1)
        relative = (answer - answer[:, -1:]) / (answer[:, :1] - answer[:, -1:]).clamp_min(1e-12)
        first = (relative < SUPPRESSED).to(torch.uint8).argmax(1)  # the last always is
        return masks[first]

    def fills(self, shape: tuple[int, int, int]) -> int:
        return self.n_steps + 1 + (len(RADII) + 1 if self.init == "circular" else 0)

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return replace(super().cost(shape), queries=self.fills(shape))


def translate(images: Tensor, by: Tensor) -> Tensor:
    """Moves images [B,C,H,W] up and left by whole pixels [B,2]. The border is repeated."""
    if not by.any():
        return images
    height, width = images.shape[-2:]
    rows, columns = (
        (torch.arange(size, device=images.device) + by[:, axis, None]).clamp_max(size - 1)
        for axis, size in enumerate((height, width))
    )
    return images.gather(2, rows[:, None, :, None].expand_as(images)).gather(
        3, columns[:, None, None, :].expand_as(images)
    )
