"""FIDO: attribution by drop probabilities of pixels, optimised under a filler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.config.hints import Count, Natural, NonNegative, Positive
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import record
from pomelo_lab.explainer.draw_mean import mean_over_draws
from pomelo_lab.explainer.gradient_mean import PointDraws
from pomelo_lab.explainer.removal import RemovalExplainer, enlarge
from pomelo_lab.sampler.base import Filling
from pomelo_lab.types import Explanation


@dataclass(kw_only=True)
class FidoExplainer(RemovalExplainer):
    """Optimises a drop probability for each cell of the image, on samples of relaxed Bernoulli masks. With an
    in-painting filler the method is FIDO-CA.

    Source: Chang et al. (2019), https://arxiv.org/abs/1807.08024, eq. 3 to 6; settings of Agarwal & Nguyen (2020),
        https://arxiv.org/abs/1910.04256, section A1. Departures: the penalty is a sum over pixels. It is scaled to an
        image of `reference_px` squared, so that it has the same effect at every resolution. Undecided pixels are 0.5.
        The published code subtracts one half from its maps; undecided pixels are then 0, and a threshold at a share of
        the maximum never selects them.
    Args:
        objective: "ssr" = the smallest region that keeps the class (Agarwal & Nguyen's FIDO-CA); "sdr" = the smallest
            region whose removal destroys the class.
        mask_px: cells along each side; they are enlarged to pixels by bilinear interpolation.
        n_steps, lr: steps of Adam, and its learning rate, which falls linearly from lr to 0.
        n_samples: masks per image and step.
        penalty: weight of each pixel that is kept (ssr) or dropped (sdr).
        n_warmup: steps over which the penalty rises from 0.
        temperature: temperature of the relaxed Bernoulli distribution.
        tv: weight of the squared differences between the drop probabilities of neighbouring pixels.
        noise: "pixel" = one draw for every pixel (the published code); "cell" = one draw for every cell, then enlarged.
    Shapes: attribution [B,H,W] in [0,1], the probability of being kept (ssr) or dropped (sdr); 0.5 = undecided. extra:
        "drop" [B,mask_px,mask_px]; "probability" [B], of the image without the pixels that are dropped more often than
        kept; with two steps or more also "loss" [B,n_steps] at the full penalty and "moving" [B] (see
        `convergence.record`).
    Cost: per image n_steps * n_samples forward passes, backward passes and fills, plus one forward pass and one fill.
    Random: one uniform per pixel (or cell), sample and step ("fido"), and the filler's draws.
    """

    access: ClassVar[str] = "white_box"
    revision: ClassVar[int] = 3  # 1 shifted its maps by half, 2 stored no loss

    objective: Literal["ssr", "sdr"] = "ssr"
    mask_px: Count = 56
    n_steps: Count = 300
    n_samples: Count = 8
    lr: Positive = 0.05
    penalty: NonNegative = 1e-3
    reference_px: Count = 224
    n_warmup: Natural = 30
    temperature: Positive = 0.1
    tv: NonNegative = 0.0
    noise: Literal["pixel", "cell"] = "pixel"

    def explain(self, case: Case) -> Explanation:
        image, target, classifier = case.batch.image, case.target, case.classifier
        filling = case.filling(self.sampler)
        drop, loss = self.optimize(case, filling)
        dropped = enlarge(drop, image.shape[-2:], "bilinear")
        row, last = (
            torch.arange(len(case), device=drop.device),
            torch.full_like(target, self.fills(tuple(image.shape[1:])) - 1),
        )
        keep = (dropped <= 0.5).to(image)

        def without(start: int, stop: int) -> Tensor:
            return filling(row[start:stop], keep[start:stop], last[start:stop])

        extra = {"drop": drop, "probability": classifier.probability_of(without, len(case), target)}
        extra |= record(loss)
        return Explanation(target=target, attribution=1 - dropped if self.objective == "ssr" else dropped, extra=extra)

    @torch.enable_grad()
    def optimize(self, case: Case, filling: Filling) -> tuple[Tensor, Tensor]:
        """Optimises the drop probabilities [B,k,k] and records the loss before each step [B,n_steps].

        Adam treats each value by itself, so images of a batch do not influence each other.
        """
        image = case.batch.image
        logit = torch.zeros(len(case), self.mask_px, self.mask_px, device=image.device, requires_grad=True)
        optimizer, losses = torch.optim.Adam([logit], lr=self.lr), []
        for step in range(self.n_steps):
            optimizer.param_groups[0]["lr"] = self.lr * (1 - step / self.n_steps)
            drop = enlarge(logit.sigmoid(), image.shape[-2:], "bilinear")
            odds = self.mean_odds(case, filling, step, logit if self.noise == "cell" else drop.logit(1e-6))
            weight = self.penalty * min(1.0, step / self.n_warmup if self.n_warmup else 1.0)
            loss = self.loss(odds, drop, weight)
            # the recorded loss has the full penalty, so that losses of all steps are comparable
            losses.append(self.loss(odds, drop, self.penalty).detach())
            (logit.grad,) = torch.autograd.grad(loss.sum(), logit)
            optimizer.step()
        return logit.detach().sigmoid(), torch.stack(losses, 1)

    def mean_odds(self, case: Case, filling: Filling, step: int, dropped: Tensor) -> Tensor:
        """The target's mean log-odds [B] over a step's samples of masks.

        Args: dropped: log-odds of being dropped, [B,H,W] of pixels or [B,k,k] of cells.
        """
        size, n, shape = case.batch.image.shape[-2:], self.n_samples, dropped.shape[1:]

        def draw_all(name: str) -> Tensor:
            return case.streams.uniform([name], f"fido.{step}", n, *shape, device=dropped.device)

        uniform = PointDraws(case.batch.image_id, draw_all)

        def answer(row: Tensor, draw: Tensor, dropped: Tensor) -> Tensor:
            keep = self.sample_masks(uniform(row, draw), dropped, size)
            return case.classifier.log_odds(filling.blend(row, keep, draw + n * step), case.target[row])

        return mean_over_draws(case.classifier.gradients, n, answer, dropped)

    def loss(self, odds: Tensor, drop: Tensor, weight: float) -> Tensor:
        """The objective of each image: log-odds of the target [B], drop probabilities of pixels [B,H,W] -> [B]."""
        scale = self.reference_px**2 / drop[0].numel()
        keeps = self.objective == "ssr"
        total = (-odds if keeps else odds) + weight * scale * ((1 - drop) if keeps else drop).sum((1, 2))
        if self.tv:
            total = total + self.tv * (drop.diff(dim=1).square().sum((1, 2)) + drop.diff(dim=2).square().sum((1, 2)))
        return total

    def sample_masks(self, uniform: Tensor, dropped: Tensor, size: Sequence[int]) -> Tensor:
        """Relaxed keep masks [M,H,W]. Values lie near 0 or 1, and above 0.5 with the probability of being kept.

        Args: uniform, dropped: uniform numbers and log-odds of being dropped, of pixels or cells; size: (H,W).
        """
        keep = torch.sigmoid((uniform.clamp(1e-6, 1 - 1e-6).logit() - dropped) / self.temperature)
        return enlarge(keep, size, "bilinear") if self.noise == "cell" else keep

    def fills(self, shape: tuple[int, int, int]) -> int:
        return self.n_steps * self.n_samples + 1

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return replace(super().cost(shape), queries=self.fills(shape))
