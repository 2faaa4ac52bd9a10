"""MP2: a removal mask that grows by gradient until the classifier is at chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.config.hints import Count, Range
from pomelo_lab.explainer.removal import RemovalExplainer, cell_sums, enlarged
from pomelo_lab.sampler.base import Filling
from pomelo_lab.types import Batch, Explanation, Perturbations, Segments


@dataclass(kw_only=True)
class MP2Explainer(RemovalExplainer):
    """MP2, and MP2-G with an in-painting filler: cells are removed one pair after another, those first whose removal lowers the target most.

    Source: paper 001, section 3.5 (no public code). Departures: where the paper is silent, options; see below.
    Args:
        mask_px: cells of the mask along each side.
        n_per_step: cells removed per iteration (the paper: 2).
        chance: probability at which it stops; None = 1 / classes (the paper: 0.001 for 1,000 classes, 0.003 for 365).
        rank: "decrease" takes the cells that lower the probability most to first order; "norm" the largest gradients whatever their sign.
        probe: what would stand in cells that are not removed yet, when the filler looks at the mask. "blocks": they are filled in four sets of
            blocks that cover the image in turn, each beside what is removed already; "current": the fill of the mask as it is, the literal reading,
            which leaves nearly nothing to see in kept cells. A fixed base image is known and needs no probe.
        block_cells: side of those blocks, in cells.
        probe_every: iterations after which the probes are filled anew.
        heat: "rank" (1 - place / (number removed + 1), the first removed hottest) or "binary" (the mask).
    Shapes: extra "order" [B,mask_px,mask_px] (place of each removed cell, from 0, -1 = kept), and per image [B]: "n_removed", "probability" of the
        final mask, "at_chance" (1.0 where the image was at chance from the start: nothing is removed, the map is 0) and "unreached" (1.0 where all is
        removed and the probability still above chance: the order remains).
    Cost: per iteration one forward, one backward and one fill, with "blocks" four fills more; at most mask_px^2 / n_per_step iterations (392).
    Random: the filler's.
    """

    access: ClassVar[str] = "white_box"
    signed: ClassVar[bool] = False

    mask_px: Count = 28
    n_per_step: Count = 2
    chance: Annotated[float, Range(above=0, below=1)] | None = None
    rank: Literal["decrease", "norm"] = "decrease"
    probe: Literal["blocks", "current"] = "blocks"
    block_cells: Count = 4
    probe_every: Count = 1
    heat: Literal["rank", "binary"] = "rank"

    def explain(
        self,
        batch: Batch,
        target: Tensor,
        classifier: WhiteBox,
        streams: Streams,
        segments: Segments | None = None,
        perturbations: Perturbations | None = None,
    ) -> Explanation:
        def part(start: int, stop: int) -> Tensor:
            rows = slice(start, stop)
            some = batch.select(rows)
            filling = self.sampler.filling(some.image, streams, some.image_id, segments and segments.select(rows))
            order, left, first = self.grown(filling, target[rows], classifier)
            return torch.cat([order.flatten(1), left[:, None], first[:, None]], 1)

        found = classifier.forwards.rows(part, len(batch))
        order, left, first = found[:, :-2].view(len(batch), self.mask_px, self.mask_px), found[:, -2], found[:, -1]
        chance = self.limit(classifier)
        count = (order >= 0).sum((1, 2))
        heat = (order >= 0).float()
        if self.heat == "rank":
            heat = heat * (1 - (order + 1) / (count + 1)[:, None, None])
        extra = {"order": order, "n_removed": count.float(), "probability": left}
        extra |= {"at_chance": (first <= chance).float(), "unreached": (left > chance).float()}
        return Explanation(target=target, attribution=enlarged(heat, batch.image.shape[-2:], "nearest"), extra=extra)

    def limit(self, classifier: WhiteBox) -> float:
        """The probability at which it stops."""
        return 1 / classifier.num_classes if self.chance is None else self.chance

    def grown(self, filling: Filling, target: Tensor, classifier: WhiteBox) -> tuple[Tensor, Tensor, Tensor]:
        """(order [B,k,k], final probability [B], first probability [B]); images that are done are left out of further iterations."""
        image, k, chance = filling.image, self.mask_px, self.limit(classifier)
        n, n_cells = len(image), k * k
        order = image.new_full((n, n_cells), -1.0)
        left, first = image.new_full((n,), torch.nan), image.new_full((n,), torch.nan)
        content = torch.zeros_like(image)  # what would stand in each pixel
        row, step = torch.arange(n, device=image.device), 0
        while len(row):
            keep = enlarged((order[row] < 0).to(image).view(-1, k, k), image.shape[-2:], "nearest")
            place = torch.full_like(row, step * (len(self.blocks()) + 1))
            seen = filling(row, keep, place).detach().requires_grad_(True)
            with torch.enable_grad():
                odds = classifier.log_odds(seen, target[row])  # orders cells as the probability does, and keeps a gradient where that rounds to 1
                (gradient,) = torch.autograd.grad(odds.sum(), seen)
            left[row] = odds.detach().sigmoid().to(left)
            if step == 0:
                first.copy_(left)
            open_ = (left[row] > chance) & (order[row] < 0).any(1)
            row, keep, gradient = row[open_], keep[open_], gradient[open_]
            if not len(row):
                break
            if step % self.probe_every == 0:
                content[row] = self.probed(filling, row, keep, place[open_])
            gain = cell_sums((gradient * (content[row] - image[row])).sum(1), k).flatten(1)  # first-order change if the cell goes
            score = gain.abs() if self.rank == "norm" else -gain
            score = score.masked_fill(order[row] >= 0, -torch.inf)
            chosen = score.sort(dim=1, descending=True, stable=True).indices[:, : self.n_per_step]
            place_of = (order[row] >= 0).sum(1, keepdim=True) + torch.arange(chosen.shape[1], device=row.device)
            fits = place_of < n_cells
            at = row[:, None].expand_as(chosen)[fits], chosen[fits]
            order[at] = place_of[fits].to(order)
            step += 1
        return order.view(n, k, k), left, first

    @torch.no_grad()
    def probed(self, filling: Filling, row: Tensor, keep: Tensor, place: Tensor) -> Tensor:
        """What would stand in the pixels of images `row`: [M,C,H,W]."""
        content = filling.replacement(row, keep, place)
        for number, block in enumerate(self.blocks()):
            removed = enlarged(block[None].to(keep), keep.shape[-2:], "nearest") > 0
            found = filling.replacement(row, keep.masked_fill(removed, 0), place + 1 + number)
            content = torch.where(removed[:, None], found, content)
        return content

    def blocks(self) -> list[Tensor]:
        """The sets of blocks: bool [mask_px,mask_px] each; every second block of every second row."""
        if self.sampler.context == "image" or self.probe == "current":
            return []
        part = torch.arange(self.mask_px).div(self.block_cells, rounding_mode="floor") % 2
        return [(part == i)[:, None] & (part == j) for i in (0, 1) for j in (0, 1)]

    def fills(self, shape: tuple[int, int, int]) -> int:
        n_steps = -(-(self.mask_px**2) // self.n_per_step)
        return 1 + n_steps + (len(self.blocks()) + 1) * -(-n_steps // self.probe_every)

    def queries(self, shape: tuple[int, int, int]) -> int:
        return 1 + -(-(self.mask_px**2) // self.n_per_step)
