"""MP2: a removal mask that grows by gradients until the classifier is at chance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.config.hints import Count, Range
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.postprocessed import Postprocessed
from pomelo_lab.explainer.removal import RemovalExplainer, cell_sums, enlarge
from pomelo_lab.sampler.base import Filling
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class MP2Explainer(Postprocessed, RemovalExplainer):
    """MP2: removes cells, a few per iteration, until the classifier is at chance. With an in-painting filler the method
    is MP2-G.

    Source: Agarwal & Nguyen (2020), https://arxiv.org/abs/1910.04256, section 3.5; its code is not public. Departures:
        none at the defaults. Three options are ours: rank "decrease" uses the sign of the gradient, heat "rank" shows
        the order of removal, and probe "blocks" fills cells that are not removed yet (conf/method/mp2_ordered.yaml uses
        all three).
    Args:
        mask_px: cells of the mask along each side.
        n_per_step: cells removed per iteration (the paper: 2).
        chance: removal stops at this probability; None = 1 / classes (the paper: 0.001 for 1,000 classes, 0.003 for
            365).
        rank: "norm" removes the cells with the largest gradients of any sign, "decrease" those that lower the
            probability most to first order.
        probe: content of cells that are not removed yet, for a filler that depends on the mask. A fixed base image is
            known and needs no probe. "current": the fill of the current mask, f = G(m, x); in kept cells it is the
            in-painter's output for pixels that it sees. If the in-painter returns these pixels unchanged (most
            diffusion in-painters, and functions that paste the hole into the image), every gradient of the mask is 0
            and the order would be the reading order. Such a filler is refused. "blocks": cells are filled in four sets
            of blocks that cover the image in turn, each together with the cells that are removed already.
        block_share: side of the blocks as a share of the image's side, so that masks of all sizes use equal blocks.
        block_cells: side of the blocks in cells; None = by block_share.
        probe_every: iterations between two fills of the probes.
        heat: "binary" (the mask) or "rank" (1 - position / (number removed + 1), largest for the first cell removed).
        map_upsample: interpolation from cells to pixels of the map. During removal cells have sharp edges.
    Shapes: extra "order" [B,mask_px,mask_px] (position of each removed cell, from 0; -1 = kept). extra [B]:
        "n_removed"; "probability" of the final mask; "at_chance" (1.0 where the image was at chance from the start, so
        nothing is removed and the map is 0); "unreached" (1.0 where everything is removed and the probability is still
        above chance; the order is valid, and the binary map is constant).
    Cost: per iteration one forward pass, one backward pass and one fill, with "blocks" four more fills; at most
        mask_px^2 / n_per_step iterations (392).
    Random: the filler's draws.
    Raises: ValueError with "current", before a cell is removed, when a filler that depends on the mask returns the kept
        cells of an image unchanged.
    """

    access: ClassVar[str] = "white_box"
    postprocess_arguments = frozenset({"heat", "map_upsample"})
    revision: ClassVar[int] = 2  # 1 had blocks of 4 cells at every size of the mask

    mask_px: Count = 28
    n_per_step: Count = 2
    chance: Annotated[float, Range(above=0, below=1)] | None = None
    rank: Literal["decrease", "norm"] = "norm"
    probe: Literal["blocks", "current"] = "current"
    block_share: Annotated[float, Range(above=0, high=1)] = 0.125
    block_cells: Count | None = None
    probe_every: Count = 1
    heat: Literal["rank", "binary"] = "binary"
    map_upsample: Literal["nearest", "bilinear"] = "bilinear"

    def explain(self, case: Case) -> Explanation:
        def part(start: int, stop: int) -> Tensor:
            chunk = case.select(slice(start, stop))
            order, left, first = self.grow(chunk.filling(self.sampler), chunk.target, chunk.classifier)
            return torch.cat([order.flatten(1), left[:, None], first[:, None]], 1)

        grown = case.classifier.forwards.rows(part, len(case))
        order, left, first = grown[:, :-2].view(len(case), self.mask_px, self.mask_px), grown[:, -2], grown[:, -1]
        chance = self.stopping_probability(case.classifier)
        extra = {"order": order, "n_removed": (order >= 0).sum((1, 2)).float(), "probability": left}
        extra |= {"at_chance": (first <= chance).float(), "unreached": (left > chance).float()}
        empty = torch.zeros_like(case.batch.image[:, 0])
        return self.postprocess(Explanation(target=case.target, attribution=empty, extra=extra))

    def postprocess(self, explanation: Explanation) -> Explanation:
        """Converts a stored order to a map."""
        order = explanation.extra["order"]
        heat = (order >= 0).to(explanation.attribution)
        if self.heat == "rank":
            heat = heat * (1 - (order + 1) / (heat.sum((1, 2)) + 1)[:, None, None])
        return replace(explanation, attribution=enlarge(heat, explanation.attribution.shape[-2:], self.map_upsample))

    def stopping_probability(self, classifier: WhiteBox) -> float:
        """The probability at which removal stops."""
        return 1 / classifier.num_classes if self.chance is None else self.chance

    def grow(self, filling: Filling, target: Tensor, classifier: WhiteBox) -> tuple[Tensor, Tensor, Tensor]:
        """Removes cells: (order [B,k,k], final probability [B], first probability [B]).

        Images leave the batch when they are finished.
        """
        image, k, chance = filling.image, self.mask_px, self.stopping_probability(classifier)
        n, n_cells = len(image), k * k
        order = image.new_full((n, n_cells), -1.0)
        left, first = image.new_full((n,), torch.nan), image.new_full((n,), torch.nan)
        content = torch.zeros_like(image)  # content of each pixel if it were removed
        row, step = torch.arange(n, device=image.device), 0
        while len(row):
            keep = enlarge((order[row] < 0).to(image).view(-1, k, k), image.shape[-2:], "nearest")
            index = torch.full_like(row, step * (len(self.blocks()) + 1))
            seen = filling(row, keep, index).detach().requires_grad_(True)
            with torch.enable_grad():
                # orders cells as the probability does, and keeps a gradient where that rounds to 1
                odds = classifier.log_odds(seen, target[row])
                (gradient,) = torch.autograd.grad(odds.sum(), seen)
            left[row] = odds.detach().sigmoid().to(left)
            if step == 0:
                first.copy_(left)
            open_ = (left[row] > chance) & (order[row] < 0).any(1)
            row, keep, gradient = row[open_], keep[open_], gradient[open_]
            if not len(row):
                break
            if step % self.probe_every == 0:
                content[row] = self.fill_probes(filling, row, keep, index[open_])
            if step == 0:
                self.check_shown(image[row], content[row])
            # first-order change if the cell goes
            gain = cell_sums((gradient * (content[row] - image[row])).sum(1), k).flatten(1)
            score = gain.abs() if self.rank == "norm" else -gain
            score = score.masked_fill(order[row] >= 0, -torch.inf)
            chosen = score.sort(dim=1, descending=True, stable=True).indices[:, : self.n_per_step]
            rank = (order[row] >= 0).sum(1, keepdim=True) + torch.arange(chosen.shape[1], device=row.device)
            fits = rank < n_cells
            cells = row[:, None].expand_as(chosen)[fits], chosen[fits]
            order[cells] = rank[fits].to(order)
            step += 1
        return order.view(n, k, k), left, first

    def check_shown(self, image: Tensor, content: Tensor) -> None:
        """Raises ValueError when the fill of an image differs from it by no more than 8-bit rounding, because all
        scores would be 0 or rounding errors."""
        if self.sampler.context == "image" or self.probe != "current":
            return
        if ((content - image).abs().flatten(1).amax(1) <= 0.5 / 255 + 1e-6).any():
            raise ValueError(
                f"explainer.probe must be 'blocks' with {type(self.sampler).__name__}, got 'current': this in-painter "
                f"returns kept cells "
                "as they are, so nothing says which to remove first"
            )

    @torch.no_grad()
    def fill_probes(self, filling: Filling, row: Tensor, keep: Tensor, index: Tensor) -> Tensor:
        """The content that the filler would put into the pixels of images `row`: [M,C,H,W]."""
        content = filling.replacement(row, keep, index)
        for number, block in enumerate(self.blocks()):
            removed = enlarge(block[None].to(keep), keep.shape[-2:], "nearest") > 0
            filled = filling.replacement(row, keep.masked_fill(removed, 0), index + 1 + number)
            content = torch.where(removed[:, None], filled, content)
        return content

    def blocks(self) -> list[Tensor]:
        """The four sets of blocks, bool [mask_px,mask_px] each: every second block of every second row."""
        if self.sampler.context == "image" or self.probe == "current":
            return []
        cells = self.block_cells or max(1, int(self.block_share * self.mask_px + 0.5))
        part = torch.arange(self.mask_px).div(cells, rounding_mode="floor") % 2
        return [(part == i)[:, None] & (part == j) for i in (0, 1) for j in (0, 1)]

    def fills(self, shape: tuple[int, int, int]) -> int:
        n_steps = -(-(self.mask_px**2) // self.n_per_step)
        return 1 + n_steps + (len(self.blocks()) + 1) * -(-n_steps // self.probe_every)

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return replace(super().cost(shape), queries=1 + -(-(self.mask_px**2) // self.n_per_step), at_most=True)
