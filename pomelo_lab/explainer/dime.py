"""DiME: counterfactuals by a diffusion model whose steps are pushed by the classifier's gradient at a clean estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import Streams
from pomelo_lab.classifier.base import NetworkClassifier, WhiteBox
from pomelo_lab.config.hints import Count, Fraction, NonNegative
from pomelo_lab.explainer.counterfactual import Ancestral, CounterfactualExplainer, Found, perceptual_distance
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import Path, ddim_step, noised
from pomelo_lab.types import Batch

BEGIN = "dime.start"


@dataclass(kw_only=True)
class DiMEExplainer(CounterfactualExplainer):
    """The image is noised to place tau of a respaced chain and denoised again, each step pushed towards the goal and back to the image.

    Source: paper 004, sections 3.2 and 3.3, and its code. At place k of the chain z <- mean - variance * g + noise, with g = (class gradient +
        perceptual gradient, at the clean estimate of the place before) / sqrt(alpha-bar) + lambda_l1 sign(z - x). The clean estimate is the image
        itself at first, then an unguided chain of its own from z down. Images that do not reach the goal are tried again with the next lambda_c,
        from the same start. Departures: variances are those of the posterior (there learned) unless the denoiser's are; perceptual features come from
        `perceptual` (there VGG-19, relu3_4).
    Args:
        generator: the denoiser; left out of the config it is the job's generator.
        perceptual, layers: network and layers of the perceptual term; None = no such term.
        variant: dime; direct = class gradient at the noisy image, undivided, no perceptual term; naive = one class gradient, at the image itself, no
            distances; early_stop = dime, unguided from where the clean estimate has reached the goal; unconditional = no gradients.
        inner: how the clean estimate is made: full = an ancestral chain of k - 1 evaluations; ddim = deterministic, inner_steps evaluations;
            tweedie = the denoiser's own estimate, which costs nothing.
        n_steps, tau: respaced steps of the whole chain, and how many of them are taken.
        lambda_c: scales of the class term, one after the other.
        lambda_p, lambda_l1: weights of the perceptual and the L1 term.
        class_loss: logit = minus the log-odds of the goal, which does not saturate (the code); log_probability (the paper).
        mask: share of the pixels that may change, those with the largest accumulated class gradients; the others go back to the noised image at
            every step (MaskDiME, Guo et al. 2026, in essence); None = all.
    Cost: for each try and image, full: tau (tau + 1) / 2 evaluations of the denoiser; ddim: at most tau (1 + inner_steps); tweedie: tau. And tau
        forwards and backwards of the classifier.
    Random: start and steps per image ("dime.*").
    """

    access: ClassVar[str] = "white_box"
    signed: ClassVar[bool] = False

    generator: DDPM
    perceptual: NetworkClassifier | None = None
    layers: list[str] = field(default_factory=lambda: ["stage2"])
    variant: Literal["dime", "direct", "naive", "early_stop", "unconditional"] = "dime"
    inner: Literal["full", "ddim", "tweedie"] = "full"
    inner_steps: Count = 3
    n_steps: Count = 200
    tau: Count = 60
    lambda_c: list[float] = field(default_factory=lambda: [8.0, 10.0, 15.0])
    lambda_p: NonNegative = 30.0
    lambda_l1: NonNegative = 0.05
    class_loss: Literal["logit", "log_probability"] = "logit"
    mask: Fraction | None = None

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Starts beyond the chain, no scale at all."""
        if given["tau"] >= given["n_steps"]:
            yield f"tau must be below n_steps={given['n_steps']}, got {given['tau']}"
        if not given["lambda_c"]:
            yield "lambda_c must hold one scale or more, got none"

    def sought(self, batch: Batch, target: Tensor, goal: Tensor, classifier: WhiteBox, streams: Streams) -> Found:
        self.generator.check_images(batch.image)

        def some(start: int, stop: int) -> tuple[Tensor, ...]:
            return self.tried(batch.select(slice(start, stop)), goal[start:stop], classifier, streams)

        return Found(*classifier.forwards.rows(some, len(batch)))

    def tried(self, batch: Batch, goal: Tensor, classifier: WhiteBox, streams: Streams) -> tuple[Tensor, ...]:
        """(images [B,C,H,W] not clamped, flipped, goal probability, tries [B]); the last try of an image is the one that is kept."""
        along = self.generator.path(self.n_steps, "linspace")
        found, open_rows = batch.image.clone(), torch.arange(len(batch), device=goal.device)
        flipped, probability, tries = (torch.zeros(len(batch), device=goal.device) for _ in range(3))
        for attempt, scale in enumerate(self.lambda_c if self.variant != "unconditional" else [0.0]):
            some = batch.select(open_rows.tolist())
            made = self.guided(some, goal[open_rows], classifier, streams, along, scale, attempt)
            answer = classifier.probability(made)
            found[open_rows], tries[open_rows] = made, attempt + 1.0
            probability[open_rows] = answer.gather(1, goal[open_rows, None])[:, 0]
            flipped[open_rows] = (answer.argmax(1) == goal[open_rows]).float()
            open_rows = open_rows[flipped[open_rows] == 0]
            if not len(open_rows):
                break
        return found, flipped, probability, tries

    def guided(self, batch: Batch, goal: Tensor, classifier: WhiteBox, streams: Streams, along: Path, scale: float, attempt: int) -> Tensor:
        """One try: images in [0,1]'s scale, not clamped."""
        ids, shape, x = batch.image_id, batch.image.shape[1:], DDPM.scaled(batch.image)
        chain = Ancestral(along)

        def normal(purpose: str) -> Tensor:
            return streams.normal(ids, purpose, *shape).to(x)

        start = normal(BEGIN)
        z = noised(x, along.levels[self.tau + 1], start)  # one place above the first step, as in the code
        clean, active = x, torch.ones(len(x), dtype=torch.bool, device=x.device)
        fixed = self.class_gradient(x, goal, classifier, scale) if self.variant == "naive" else None
        touched = x.new_zeros(len(x), 1, *shape[1:])
        for k in range(self.tau, 0, -1):
            x0 = self.clean(z, k, along)
            if self.inner == "tweedie" and k < self.tau:
                clean = x0
                active = self.still(active, clean, goal, classifier)
            pushed = torch.zeros_like(x)
            if self.variant != "unconditional":
                pushed, seen = self.gradient(z, clean, x, goal, classifier, scale, along.levels[k], fixed)
                touched += seen.abs().sum(1, keepdim=True)
            pushed = pushed * active[:, None, None, None]
            z = chain.mean(z, x0, k) - chain.variance(k) * pushed
            if k > 1:
                z = z + chain.variance(k) ** 0.5 * normal(f"dime.{attempt}.{k}")
            if self.mask is not None:
                z = torch.where(self.free(touched), z, noised(x, along.levels[k - 1], start))
            if k > 1 and self.variant in ("dime", "early_stop") and self.inner != "tweedie":
                clean = self.estimate(z, k - 1, chain, lambda j, k=k: normal(f"dime.{attempt}.{k}.{j}"))
                active = self.still(active, clean, goal, classifier)
        return (z + 1) / 2

    def still(self, active: Tensor, clean: Tensor, goal: Tensor, classifier: WhiteBox) -> Tensor:
        """Which images are guided on."""
        if self.variant != "early_stop":
            return active
        return active & (classifier.probability((clean + 1) / 2).argmax(1) != goal)

    def clean(self, z: Tensor, k: int, along: Path) -> Tensor:
        """The denoiser's clean estimate at place k, clamped to [-1,1]."""
        with torch.no_grad():
            return self.generator.forwards(lambda part: self.generator.denoise(part, along.timesteps[k - 1])[0].clamp(-1, 1), z)

    def estimate(self, z: Tensor, k: int, chain: Ancestral, noise: Callable[[int], Tensor]) -> Tensor:
        """A clean image from z at place k, unguided."""
        along = chain.along
        if self.inner == "full":
            return chain.sampled(lambda x, place: self.clean(x, place, along), z, k, noise)
        places = [round(k * (1 - i / self.inner_steps)) for i in range(self.inner_steps + 1)] if k > self.inner_steps else list(range(k, -1, -1))
        for place, after in zip(places, places[1:], strict=False):
            x0 = self.clean(z, place, along)
            level = along.levels[place]
            z = ddim_step(x0, (z - level**0.5 * x0) / (1 - level) ** 0.5, level, along.levels[after])
        return z

    @torch.enable_grad()
    def gradient(
        self, z: Tensor, clean: Tensor, x: Tensor, goal: Tensor, classifier: WhiteBox, scale: float, level: float, fixed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(what a step is pushed by, its class part), both [B,C,H,W]."""
        if self.variant == "naive":
            return fixed / level**0.5, fixed
        if self.variant == "direct":
            seen = self.class_gradient(z, goal, classifier, scale)
            return seen + self.lambda_l1 * (z - x).sign(), seen
        seen = self.class_gradient(clean, goal, classifier, scale)
        found = seen
        if self.perceptual is not None and self.lambda_p:
            at = clean.detach().requires_grad_(True)
            distance = perceptual_distance(self.perceptual, self.layers, (at + 1) / 2, (x + 1) / 2)
            found = found + torch.autograd.grad(self.lambda_p * distance.sum(), at)[0]
        return found / level**0.5 + self.lambda_l1 * (z - x).sign(), seen

    @torch.enable_grad()
    def class_gradient(self, at: Tensor, goal: Tensor, classifier: WhiteBox, scale: float) -> Tensor:
        """Of the class loss, at images in [-1,1]'s scale."""
        at = at.detach().requires_grad_(True)
        odds = classifier.log_odds((at + 1) / 2, goal)
        loss = -odds if self.class_loss == "logit" else F.softplus(-odds)
        return torch.autograd.grad(scale * loss.sum(), at)[0]

    def free(self, touched: Tensor) -> Tensor:
        """bool [B,1,H,W]: the share of pixels with the largest accumulated gradients."""
        flat = touched.flatten(1)
        n = max(1, round(self.mask * flat.shape[1]))
        return touched >= flat.topk(n, 1).values[:, -1:, None, None]

    def queries(self, shape: tuple[int, int, int]) -> int:
        return 1 + len(self.lambda_c) * (self.tau + 1)

    def evaluations(self, shape: tuple[int, int, int]) -> int:
        tau = self.tau
        inner = {"full": tau * (tau - 1) // 2, "ddim": sum(min(k, self.inner_steps) for k in range(1, tau)), "tweedie": 0}[self.inner]
        extra = inner if self.variant in ("dime", "early_stop") else 0
        return len(self.lambda_c) * (tau + extra)
