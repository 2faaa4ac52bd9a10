"""ACE: counterfactuals from adversarial attacks through a diffusion model."""

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
    """Attacks the classifier through a denoiser, repaints the regions that the attack changed most, and restores all
    other pixels.

    Source: Jeanneret et al. (2023), https://arxiv.org/abs/2303.09962, and its code. (1) Steps against the sign of the
        gradient, through a short stochastic denoising chain, give the pre-explanation. (2) The change of each pixel is
        divided by the image's largest change and spread by a maximum filter. Pixels below a threshold are kept. (3) The
        pre-explanation is noised and denoised. At every step kept pixels are replaced by a noised version of the image.
        Departures: both losses are sums per image. In the published code the class loss is the mean of a batch, so its
        distance weight of 0.001 in batches of 3 acts as 0.003 does here. Variances are those of the posterior unless
        the denoiser has learned its own (theirs has). An image without any change is returned as it is (their code
        gives NaN). Of their attacks only PGD is implemented.
    Args:
        generator: the denoiser. If the config leaves it out, the job's generator is used.
        n_attack: iterations of the attack.
        step, eps: change of a value per iteration of the attack, and its largest total change, in grey levels (255ths).
        n_steps, tau: respaced steps of the whole chain, and the number of steps by which an image is noised and
            denoised. At an alpha-bar of about 0.9 the classifier's answer mostly stays the same.
        lambda_l1, lambda_l2: weights of the sum of absolute differences to the image and of their Euclidean norm.
        sure: an attack ends when the goal's probability for the denoised image exceeds this value; None = all
            iterations are run (the published code).
        threshold: relative change below which pixels are kept; 0 = no pixel is kept.
        dilation_px: side of the maximum filter, odd.
        checkpoint: store the activations of one evaluation of the denoiser at a time and repeat the evaluations for
            the gradient. This saves memory, so the batch need not be made smaller.
    Shapes: extra "free" [B], the share of pixels that were not kept; "tries" [B], the number of iterations; "loss"
        [B,n_attack], the attack's objective (class loss plus distances) at every iteration, filled with the last value
        after an attack has ended; "moving" [B] (see convergence.py).
    Cost: per image n_attack * tau evaluations of the denoiser with their backward passes (twice the evaluations with
        checkpoint) and tau more evaluations, and n_attack forward and backward passes of the classifier. Without
        checkpoint batch_size // tau images are processed at once.
    Random: every draw per image ("ace.*"). A gradient that is 0 up to rounding has a sign that may depend on the batch
        size, and so has the pixel's step (six portraits at demo scale: values differed by 1e-5 on average, by 0.008 at
        most).
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
        """Reports a start beyond the chain and a maximum filter of even size."""
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
        return lambda name: case.streams.normal(image_id, f"ace.{name}", *image.shape[1:], device=image.device)

    @cached_property
    def chain(self) -> Ancestral:
        return Ancestral(self.generator.respace(self.n_steps, "linspace"))

    def clean(self, z: Tensor, k: int) -> tuple[Tensor, Tensor | None]:
        """The denoiser's clean estimate at noise level k, clamped to [-1,1], and its learned share of the variance.

        The share is None when the denoiser learns no variance. Both are differentiable.
        """

        def estimate(x: Tensor) -> tuple[Tensor, Tensor | None]:
            return self.generator.estimate(x, self.chain.schedule.timesteps[k - 1])

        if self.checkpoint and torch.is_grad_enabled():
            return checkpoint(estimate, z, use_reentrant=False, preserve_rng_state=False)
        return estimate(z)

    # --- (1) pre-explanation --------------------------------------------------------------------------------------

    def attack(self, case: Case, goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Runs the attack: (pre-explanations [B,C,H,W] in [0,1], iterations [B], loss [B,n_attack]).

        Images leave the batch when their attack ends.
        """
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
        """Differentiates the attack's objective, which is class loss plus distances, at images in [0,1].

        Returns: (gradient [B,C,H,W], log-odds of the goal for the denoised images [B], objective [B]).
        """
        perturbed = perturbed.detach().requires_grad_(True)
        odds = classifier.log_odds((self.denoise(perturbed, noise) + 1) / 2, goal)
        changed = (perturbed - image).flatten(1)
        distance = self.lambda_l1 * changed.abs().sum(1) + self.lambda_l2 * torch.linalg.vector_norm(changed, dim=1)
        loss = F.softplus(-odds) + distance
        return torch.autograd.grad(loss.sum(), perturbed)[0], odds.detach(), loss.detach()

    def denoise(self, images: Tensor, noise: Noise) -> Tensor:
        """Adds noise up to level tau and denoises by stochastic steps: [B,C,H,W] in [0,1] -> [B,C,H,W] around
        [-1,1]."""
        z = noised(DDPM.scaled(images), self.chain.schedule.alphas_cumprod[self.tau], noise("start"))
        return self.chain.sample(self.clean, z, self.tau, lambda k: noise(str(k)))

    # --- (2) mask -------------------------------------------------------------------------------------------------

    def keep_mask(self, image: Tensor, attacked: Tensor) -> Tensor:
        """Marks the pixels that keep their value: bool [B,1,H,W]."""
        changed = (attacked - image).abs().sum(1, keepdim=True)
        largest = changed.amax((1, 2, 3), keepdim=True)
        spread = F.max_pool2d(changed / largest, self.dilation_px, stride=1, padding=self.dilation_px // 2)
        return (spread < self.threshold) | (largest == 0)  # 0 / 0 where nothing changed

    # --- (3) refinement -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refine(self, image: Tensor, attacked: Tensor, keep_mask: Tensor, noise: Noise) -> Tensor:
        """Noises and denoises the pre-explanations into counterfactuals: [B,C,H,W] in [0,1].

        Kept pixels equal those of the image bit for bit.
        """
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
