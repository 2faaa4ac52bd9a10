"""ACE: adversarial attacks through a diffusion model, made into counterfactuals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, NotFingerprinted, Positive, Range
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import record
from pomelo_lab.explainer.counterfactual import CounterfactualExplainer, SearchResult
from pomelo_lab.generator.ancestral import Ancestral
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import noised

Noise = Callable[[str], Tensor]  # name of a draw -> standard normal [B,C,H,W], a fresh one per name


@dataclass(kw_only=True)
class ACEExplainer(CounterfactualExplainer):
    """Attacks what the classifier says of the denoised image, then paints the places that changed most and puts all
    others back.

    Source: Jeanneret et al. (2023), https://arxiv.org/abs/2303.09962, and its code. (1) Steps against the sign of the
        gradient, through a short stochastic denoising chain, give the pre-explanation. (2) Pixels are kept whose
        change, relative to the image's largest and spread by a maximum filter, lies below a threshold. (3) The
        pre-explanation is noised and denoised, kept pixels noised anew from the image at every step.
        Departures: both losses are sums per image (there the class loss is the mean of a batch: its weight of 0.001 in
            batches of 3 acts as 0.003
        does here); variances of the posterior unless the denoiser has learned its own (there learned); the image
        itself where nothing changed (there NaN); of its attacks only PGD.
    Args:
        generator: the denoiser; left out of the config it is the job's generator.
        n_attack: iterations of the attack.
        step, eps: of the attack: what a value moves per iteration, and how far at most, in grey levels (255ths).
        n_steps, tau: respaced steps of the whole chain, and by how many of them an image is noised and denoised; at an
            alpha-bar of about 0.9 the classifier's answer mostly stays.
        lambda_l1, lambda_l2: weights of the sum of absolute differences to the image and of their Euclidean norm.
        sure: probability of the goal for the denoised image at which an attack ends; None = all iterations (the code).
        threshold: relative change below which pixels are kept, 0 = none.
        dilation_px: side of the maximum filter, odd.
        checkpoint: remember one evaluation of the denoiser at a time and evaluate again for the gradient, instead of
            taking fewer images at once.
    Shapes: extra "free" [B], the share of pixels that were not kept; "tries" is the number of iterations; "loss"
        [B,n_attack], the attack's objective (class loss and distances) at every iteration, the last one's where the
        attack had ended, and "moving" [B] (see convergence.py).
    Cost: per image n_attack * tau evaluations of the denoiser with their backwards (twice the evaluations with
        checkpoint), and tau more; n_attack forwards and backwards of the classifier. Without checkpoint batch_size //
        tau images at once.
    Random: every draw per image ("ace.*"). Where a gradient is 0 but for rounding, its sign, and so a pixel's step, may
        depend on the batch size (six portraits at demo scale: values differed by 1e-5 on average, by 0.008 at most).
    """

    revision: ClassVar[int] = 2  # stores its loss

    access: ClassVar[str] = "white_box"
    differentiates = frozenset({"classifier", "generator"})

    generator: DDPM
    n_attack: Natural = 50
    step: Positive = 1.0
    eps: Positive = 255.0
    n_steps: Count = 50
    tau: Count = 5
    lambda_l1: NonNegative = 0.001
    lambda_l2: NonNegative = 0.0
    sure: Annotated[float, Range(above=0, below=1)] | None = None
    threshold: Fraction = 0.15
    dilation_px: Count = 15
    checkpoint: Annotated[bool, NotFingerprinted()] = False

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Starts beyond the chain, filters without a middle."""
        if given["tau"] > given["n_steps"]:
            yield f"tau must be at most n_steps={given['n_steps']}, got {given['tau']}"
        if given["dilation_px"] % 2 == 0:
            yield f"dilation_px must be odd, got {given['dilation_px']}"

    def search(self, case: Case, goal: Tensor) -> SearchResult:
        classifier = case.classifier
        self.generator.check_images(case.batch.image)

        def part(start: int, stop: int) -> tuple[Tensor, ...]:
            chunk = case.select(slice(start, stop))
            image = chunk.batch.image
            attacked, tries, loss = self.attack(chunk, goal[start:stop])
            keep_mask = self.keep_mask(image, attacked)
            changed = self.refine(image, attacked, keep_mask, self.noise(chunk))
            return changed, tries, (~keep_mask).float().mean((1, 2, 3)), loss

        images, tries, free, loss = classifier.forwards.rows(part, len(case), copies=1 if self.checkpoint else self.tau)
        answer = classifier.probability(images)
        extra = {"free": free, **record(loss)}
        return SearchResult(
            images, (answer.argmax(1) == goal).float(), answer.gather(1, goal[:, None])[:, 0], tries, extra
        )

    @staticmethod
    def noise(case: Case) -> Noise:
        image, image_id = case.batch.image, case.batch.image_id
        return lambda name: case.streams.normal(image_id, f"ace.{name}", *image.shape[1:]).to(image)

    @cached_property
    def chain(self) -> Ancestral:
        return Ancestral(self.generator.respace(self.n_steps, "linspace"))

    def clean(self, z: Tensor, k: int) -> tuple[Tensor, Tensor | None]:
        """The denoiser's clean estimate at noise level k, clamped to [-1,1], and the share that it has learned of the
        variance, None where it learns none. Differentiable."""

        def estimate(x: Tensor) -> tuple[Tensor, Tensor | None]:
            return self.generator.estimate(x, self.chain.schedule.timesteps[k - 1])

        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint(estimate, z, use_reentrant=False, preserve_rng_state=False)
        return estimate(z)

    # --- (1) pre-explanation --------------------------------------------------------------------------------------

    def attack(self, case: Case, goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(pre-explanations [B,C,H,W] in [0,1], iterations [B], loss [B,n_attack]); attacks that have ended leave the
        batch."""
        image, perturbed = case.batch.image, case.batch.image.clone()
        low, high = ((image + sign * self.eps / 255).clamp(0, 1) for sign in (-1, 1))
        rows, tries = torch.arange(len(image), device=image.device), torch.zeros(len(image), device=image.device)
        losses = image.new_zeros(len(image), self.n_attack)
        for i in range(self.n_attack):
            noise = self.noise(case.select(rows.tolist()))
            slope, odds, loss = self.gradient(
                perturbed[rows],
                image[rows],
                goal[rows],
                case.classifier,
                lambda name, i=i, noise=noise: noise(f"{i}.{name}"),
            )
            losses[rows, i:] = loss[:, None].to(losses)
            if self.sure is not None:
                going = odds.sigmoid() <= self.sure
                rows, slope = rows[going], slope[going]
                if not len(rows):
                    break
            perturbed[rows] = (perturbed[rows] - self.step / 255 * slope.sign()).clamp(low[rows], high[rows])
            tries[rows] = i + 1.0
        return perturbed, tries, losses

    @torch.enable_grad()
    def gradient(
        self, perturbed: Tensor, image: Tensor, goal: Tensor, classifier: WhiteBox, noise: Noise
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(of class loss and distances at images [B,C,H,W] in [0,1], log-odds of the goal for the same images denoised
        [B], that loss [B])."""
        perturbed = perturbed.detach().requires_grad_(True)
        odds = classifier.log_odds((self.denoise(perturbed, noise) + 1) / 2, goal)
        changed = (perturbed - image).flatten(1)
        distance = self.lambda_l1 * changed.abs().sum(1) + self.lambda_l2 * torch.linalg.vector_norm(changed, dim=1)
        loss = F.softplus(-odds) + distance
        return torch.autograd.grad(loss.sum(), perturbed)[0], odds.detach(), loss.detach()

    def denoise(self, images: Tensor, noise: Noise) -> Tensor:
        """Images in [0,1] noised to level tau and denoised by stochastic steps: [B,C,H,W] in [-1,1]'s scale."""
        z = noised(DDPM.scaled(images), self.chain.schedule.alphas_cumprod[self.tau], noise("start"))
        return self.chain.sample(self.clean, z, self.tau, lambda k: noise(str(k)))

    # --- (2) mask -------------------------------------------------------------------------------------------------

    def keep_mask(self, image: Tensor, attacked: Tensor) -> Tensor:
        """Where the image stays as it is: bool [B,1,H,W]."""
        changed = (attacked - image).abs().sum(1, keepdim=True)
        largest = changed.amax((1, 2, 3), keepdim=True)
        spread = F.max_pool2d(changed / largest, self.dilation_px, stride=1, padding=self.dilation_px // 2)
        return (spread < self.threshold) | (largest == 0)  # 0 / 0 where nothing changed

    # --- (3) refinement -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refine(self, image: Tensor, attacked: Tensor, keep_mask: Tensor, noise: Noise) -> Tensor:
        """Counterfactuals [B,C,H,W] in [0,1]: denoised from the pre-explanations, kept pixels the images' bit for
        bit."""
        x, alphas_cumprod = DDPM.scaled(image), self.chain.schedule.alphas_cumprod
        z = noised(DDPM.scaled(attacked), alphas_cumprod[self.tau], noise("refine.start"))
        for k in range(self.tau, 0, -1):
            z = torch.where(keep_mask, noised(x, alphas_cumprod[k], noise(f"refine.{k}.known")), z)
            x0, share = self.clean(z, k)
            z = self.chain.mean(z, x0, k)
            if k > 1:
                z = z + self.chain.step_variance(k, share) ** 0.5 * noise(f"refine.{k}")
        return torch.where(keep_mask, image, DDPM.unscaled(z).to(image))

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(
            queries=2 + self.n_attack,
            evaluations=((1 + self.checkpoint) * self.n_attack + 1) * self.tau,
            at_most=self.sure is not None,
        )
