"""DiME: counterfactuals by a diffusion model whose steps are pushed by the classifier's gradient at a clean
estimate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.classifier.base import BlackBox, NetworkClassifier
from pomelo_lab.classifier.layer_distance import PerceptualDistance, feature_distance, mean_distance
from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, OmitDefault, Range
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.counterfactual import CounterfactualExplainer, SearchResult, trace
from pomelo_lab.explainer.guidance import Attempt, Distance, Push
from pomelo_lab.explainer.trajectory import Trajectory
from pomelo_lab.explainer.unguided_chain import UnguidedChain
from pomelo_lab.generator.ancestral import Ancestral
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.diffusion import Schedule, noised

log = logging.getLogger(__name__)

BEGIN = "dime.start"
# A weight of the perceptual term with perceptual_unit=pairs. On portraits this weight and 0 give the same table
# (docs/papers/dime.md).
INERT = 30.0


@dataclass(kw_only=True)
class DiMEExplainer(CounterfactualExplainer):
    """Adds noise to an image up to level tau of a respaced diffusion chain and denoises it again, with each step guided
    towards the goal class and towards the original image.

    Source: Jeanneret, Simon & Jurie (2022), DiME, https://hal.science/hal-04583065, sections 3.1 and 3.2, and its code.
        Step k is z <- mean - variance * g + noise, with g = (class gradient + perceptual gradient) / sqrt(alpha-bar) +
        lambda_l1 sign(z - x). The class and perceptual gradients are taken at the clean estimate of the step before.
        The first clean estimate is the image itself; each later one is the end of an unguided chain from z. Images that
        do not reach the goal are tried again with the next lambda_c, from the same noisy start. Departures: variances
        are those of the posterior unless the denoiser has learned its own. Perceptual features come from `perceptual`
        and their distance has the unit `perceptual_unit`; the paper uses raw distances of VGG-19's relu3_4.
    Args:
        generator: the denoiser. If the config leaves it out, the job's generator is used.
        perceptual, layers: network and layers of the perceptual term; None = no such term.
        perceptual_unit: pairs = the distance is divided by its mean between two training images; raw = the distance as
            the network gives it (the paper).
        n_pairs: pairs of training images for that mean.
        variant: dime; direct = the class gradient at the noisy image, not divided, and no perceptual term; naive = one
            class gradient, at the image itself, and no distances; early_stop = dime, with no guidance after the clean
            estimate has reached the goal; unconditional = no gradients.
        inner: method of the clean estimate: full = an ancestral chain of k - 1 evaluations; ddim = a deterministic
            chain of inner_steps evaluations; tweedie = the denoiser's clean estimate in the current step, at no cost.
        n_steps, tau: respaced steps of the whole chain, and the number of steps taken.
        tau_sigma: deviation of the noise at the start. It replaces tau: the number of steps is the one whose noise is
            nearest to it (the paper's 60 of 200 steps begin at 0.78). None = tau.
        lambda_c: scales of the class term, tried in this order.
        lambda_p, lambda_l1, lambda_l2: weights of the perceptual term, of the sum of absolute differences and of the
            sum of squared differences. The last occurs in the published code only.
        class_loss: logit = minus the log-odds of the goal, which does not saturate (the published code);
            log_probability = minus the log-probability of the goal (the paper).
        mask: share of the pixels that may change: those of the largest accumulated class gradients. All others return
            to the noised image at every step. None = all pixels may change. This is our extension after the idea of
            MaskDiME (Guo et al. 2026), not its algorithm (docs/papers/dime.md).
        jacobian: scaled = gradients at the clean estimate are divided by sqrt(alpha-bar) (eqs. 7, 8); exact = they are
            propagated back through the chain that computed the estimate (eq. 6, which the paper rejects for its
            memory). Both are equal when the noise estimate of the denoiser does not depend on its input.
        n_recorded: number of steps whose images and terms are stored (see `Trajectory`); 0 = none.
    Shapes: extra "scale" [B], the lambda_c of the last try; with n_recorded also the tensors of `Trajectory` for that
        try.
    Cost: per try and image: tau (tau + 1) / 2 evaluations of the denoiser with full, at most tau (1 + inner_steps)
        with ddim, tau with tweedie. In addition tau forward and backward passes of the classifier. Once, two forward
        passes of the perceptual network per pair. jacobian=exact holds the activations of all evaluations behind one
        clean estimate, up to tau - 1.
    Random: start and steps per image ("dime.*").
    """

    revision: ClassVar[int] = 2  # the perceptual distance has a unit
    access: ClassVar[str] = "white_box"
    fit_arguments = frozenset({"perceptual", "layers", "perceptual_unit", "n_pairs"})
    weighing: ClassVar[tuple[str, ...]] = ("dime", "early_stop")  # variants with a perceptual term

    generator: DDPM
    perceptual: NetworkClassifier | None = None
    layers: list[str] = field(default_factory=lambda: ["stage2"])
    perceptual_unit: Literal["pairs", "raw"] = "pairs"
    n_pairs: Count = 256
    variant: Literal["dime", "direct", "naive", "early_stop", "unconditional"] = "dime"
    inner: Literal["full", "ddim", "tweedie"] = "full"
    inner_steps: Count = 3
    n_steps: Count = 200
    tau: Count = 60
    tau_sigma: Annotated[float, Range(above=0, below=1)] | None = None
    lambda_c: list[float] = field(default_factory=lambda: [8.0, 10.0, 15.0])
    lambda_p: NonNegative = 30.0
    lambda_l1: NonNegative = 0.05
    lambda_l2: NonNegative = 0.0
    class_loss: Literal["logit", "log_probability"] = "logit"
    mask: Fraction | None = None
    jacobian: Annotated[Literal["scaled", "exact"], OmitDefault()] = "scaled"
    n_recorded: Annotated[Natural, OmitDefault()] = 0

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports a start beyond the chain, an empty list of scales, and a Jacobian that the variant does not use."""
        if given["tau_sigma"] is None and given["tau"] >= given["n_steps"]:
            yield f"tau must be below n_steps={given['n_steps']}, got {given['tau']}"
        if not given["lambda_c"]:
            yield "lambda_c must hold one scale or more, got none"
        if given["jacobian"] == "exact" and given["variant"] not in ("dime", "early_stop"):
            yield (
                f"jacobian=exact needs variant=dime or early_stop, whose gradients are taken at a clean estimate, "
                f"got {given['variant']}"
            )

    @classmethod
    def check_network(cls, given: Mapping[str, Any], classifier: BlackBox, image: Tensor) -> None:
        """Warns of a perceptual term whose weight is too small to change the result."""
        super().check_network(given, classifier, image)
        weight = given["lambda_p"]
        if (
            given["perceptual"] is not None
            and given["perceptual_unit"] == "pairs"
            and 0 < weight <= INERT
            and given["variant"] in cls.weighing
        ):
            log.warning(
                "explainer.lambda_p=%g does nothing with explainer.perceptual_unit=pairs: the distance counts in its "
                "mean between two training "
                "images, where %g and 0 give the same counterfactuals of portraits and 1000 works; the paper's 30 is "
                "in units of VGG-19 "
                "(experiment=dime_paper, perceptual_unit=raw)",
                weight,
                INERT,
            )

    def fit(self, training: Dataset, classifier: BlackBox) -> dict[str, Tensor]:
        """Measures "unit", a scalar: the mean perceptual distance between two training images, or 1."""
        if self.perceptual is None or self.perceptual_unit == "raw":
            return {"unit": torch.tensor(1.0)}
        return {"unit": mean_distance(self.measure_distance, training, self.n_pairs, classifier.device)}

    def measure_distance(self, one: Tensor, other: Tensor) -> Tensor:
        """The raw perceptual distance of two batches of images: [B,C,H,W] and [B,C,H,W] in [0,1] -> [B]."""
        return feature_distance(self.perceptual, self.layers, one, other)

    def search(self, case: Case, goal: Tensor) -> SearchResult:
        self.generator.check_images(case.batch.image)
        if not case.reference and self.perceptual is not None and self.perceptual_unit == "pairs":
            raise ValueError(
                "explainer.perceptual_unit=pairs needs reference=explainer.fit(training, classifier); raw needs none"
            )
        distance = PerceptualDistance(self.measure_distance, float(case.reference["unit"]) if case.reference else 1.0)

        names: list[str] = []

        def part(start: int, stop: int) -> tuple[Tensor, ...]:
            rows = slice(start, stop)
            made, remembered = self.try_scales(case.select(rows), goal[rows], distance)
            names[:] = remembered
            return (*made, *remembered.values())

        image, flipped, probability, tries, scale, *more = case.classifier.forwards.rows(part, len(case))
        extra = {"scale": scale, **dict(zip(names, more, strict=True))}
        return SearchResult(image, flipped, probability, tries, extra)

    def try_scales(self, case: Case, goal: Tensor, distance: Distance) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Tries one scale after the other on the images that have not reached the goal. The last try of an image
        counts.

        Returns: a tuple (images [B,C,H,W], not clamped; flipped, goal probability, tries and scale, [B] each) and the
            tensors of `Trajectory`.
        """
        made, rows = case.batch.image.clone(), torch.arange(len(case), device=goal.device)
        trajectory = Trajectory(self.n_recorded, self.n_steps_taken, made, self.variant in self.weighing)
        flipped, probability, tries, scales = (torch.zeros(len(case), device=goal.device) for _ in range(4))
        for number, scale in enumerate(self.scales):
            trajectory.begin(rows)
            attempt = Attempt(case.select(rows.tolist()), goal[rows], distance, scale, number)
            image = self.guide(attempt, partial(trajectory.add, rows))
            answer = case.classifier.probability(image)
            made[rows], tries[rows], scales[rows] = image, number + 1.0, scale
            probability[rows] = answer.gather(1, goal[rows, None])[:, 0]
            flipped[rows] = (answer.argmax(1) == goal[rows]).float()
            rows = rows[flipped[rows] == 0]
            if not len(rows):
                break
        return (made, flipped, probability, tries, scales), trajectory.tensors()

    @property
    def scales(self) -> list[float]:
        """Scales of the class term, one per try."""
        return self.lambda_c if self.variant != "unconditional" else [0.0]

    @cached_property
    def schedule(self) -> Schedule:
        """The respaced chain."""
        return self.generator.respace(self.n_steps, "linspace")

    @property
    def n_steps_taken(self) -> int:
        """The number of denoising steps. The image is noised to one step above the first of them."""
        if self.tau_sigma is None:
            return self.tau
        deviation = [(1 - alpha_cumprod) ** 0.5 for alpha_cumprod in self.schedule.alphas_cumprod]
        return min(range(1, self.n_steps), key=lambda k: abs(deviation[k + 1] - self.tau_sigma))

    @property
    def unguided(self) -> UnguidedChain:
        """The unguided denoising chain that computes the clean estimates."""
        return UnguidedChain(
            self.generator, Ancestral(self.schedule), self.inner_steps if self.inner == "ddim" else None
        )

    def guide(self, attempt: Attempt, remember: Callable[..., None] = lambda *_: None) -> Tensor:
        """Runs the guided chain once and returns its images, scaled to [0,1] but not clamped.

        Args: remember: called at every step with (step, noisy image, clean estimate, terms of the guidance).
        """
        x, schedule, tau, unguided = attempt.image, self.schedule, self.n_steps_taken, self.unguided
        chain, start = unguided.chain, attempt.normal(BEGIN)
        z = noised(x, schedule.alphas_cumprod[tau + 1], start)  # one step above the first one, as in the code
        clean, active = x, torch.ones(len(x), dtype=torch.bool, device=x.device)
        fixed = self.class_gradient(attempt, x) if self.variant == "naive" else None
        touched = x.new_zeros(len(x), 1, *x.shape[2:])
        # the first clean estimate is the image itself, so no gradient goes back through a chain
        exact, back = self.jacobian == "exact", None
        for k in range(tau, 0, -1):
            tweedie = self.inner == "tweedie" and k < tau
            x0, share, back_to_z = trace(lambda images, k=k: unguided.denoise(images, k), z, tweedie and exact)
            if tweedie:
                clean, back = x0, back_to_z
                active = self.still_guided(attempt, active, clean)
            if self.variant == "unconditional":
                push = Push(torch.zeros_like(x), torch.zeros_like(x), (torch.zeros_like(x),) * 3)
                remember(k, z, x0, push.terms)
            else:
                push = self.gradient(attempt, z, clean, schedule.alphas_cumprod[k], fixed, back)
                touched += push.seen.abs().sum(1, keepdim=True)
                remember(k, z, clean, push.terms)
            variance = chain.step_variance(k, share)
            z = chain.mean(z, x0, k) - variance * (push.gradient * active[:, None, None, None])
            if k > 1:
                z = z + variance**0.5 * attempt.normal(f"dime.{attempt.number}.{k}")
            if self.mask is not None:
                z = torch.where(self.mark_changeable(touched), z, noised(x, schedule.alphas_cumprod[k - 1], start))
            if k > 1 and self.variant in ("dime", "early_stop") and self.inner != "tweedie":
                noise = partial(lambda k, j: attempt.normal(f"dime.{attempt.number}.{k}.{j}"), k)
                clean, _, back = trace(
                    lambda images, k=k, noise=noise: (unguided.estimate(images, k - 1, noise), None), z, exact
                )
                active = self.still_guided(attempt, active, clean)
        return (z + 1) / 2

    def still_guided(self, attempt: Attempt, active: Tensor, clean: Tensor) -> Tensor:
        """Marks the images that are still guided: bool [B]. Only variant=early_stop ends the guidance of an image."""
        if self.variant != "early_stop":
            return active
        return active & (attempt.case.classifier.probability((clean + 1) / 2).argmax(1) != attempt.goal)

    @torch.enable_grad()
    def gradient(
        self,
        attempt: Attempt,
        z: Tensor,
        clean: Tensor,
        alpha_cumprod: float,
        fixed: Tensor | None,
        back: Callable[[Tensor], Tensor] | None = None,
    ) -> Push:
        """The guidance gradient of one step: class, perceptual and distance terms.

        Args:
            fixed: the class gradient that variant=naive uses at every step.
            back: propagates gradients at the clean estimate back to z; None = divides them by sqrt(alpha-bar).
        """
        x, none = attempt.image, torch.zeros_like(z)
        if self.variant == "naive":
            scaled = fixed / alpha_cumprod**0.5
            return Push(scaled, fixed, (scaled, none, none))
        near = self.lambda_l1 * (z - x).sign() + 2 * self.lambda_l2 * (z - x)
        if self.variant == "direct":
            seen = self.class_gradient(attempt, z)
            return Push(seen + near, seen, (seen, none, near))
        seen, apart = self.class_gradient(attempt, clean), none
        if self.perceptual is not None and self.lambda_p:
            estimate = clean.detach().requires_grad_(True)
            far = self.lambda_p * attempt.distance((estimate + 1) / 2, (x + 1) / 2)
            apart = torch.autograd.grad(far.sum(), estimate)[0]
        back = back or (lambda gradient: gradient / alpha_cumprod**0.5)
        return Push(back(seen + apart) + near, seen, (back(seen), back(apart), near) if self.n_recorded else ())

    @torch.enable_grad()
    def class_gradient(self, attempt: Attempt, images: Tensor) -> Tensor:
        """Gradient of the scaled class loss with respect to images in [-1,1]: [B,C,H,W] -> [B,C,H,W]."""
        images = images.detach().requires_grad_(True)
        odds = attempt.case.classifier.log_odds((images + 1) / 2, attempt.goal)
        loss = -odds if self.class_loss == "logit" else F.softplus(-odds)
        return torch.autograd.grad(attempt.scale * loss.sum(), images)[0]

    def mark_changeable(self, touched: Tensor) -> Tensor:
        """Marks the pixels that may change: the share `mask` with the largest accumulated gradients, bool [B,1,H,W]."""
        flat = touched.flatten(1)
        n = max(1, round(self.mask * flat.shape[1]))
        return touched >= flat.topk(n, 1).values[:, -1:, None, None]

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        tau = self.n_steps_taken
        inner = {
            "full": tau * (tau - 1) // 2,
            "ddim": sum(min(k, self.inner_steps) for k in range(1, tau)),
            "tweedie": 0,
        }[self.inner]
        extra = inner if self.variant in ("dime", "early_stop") else 0
        return super().cost(shape) + Cost(
            queries=1 + len(self.scales) * (self.n_steps_taken + 1),
            evaluations=len(self.scales) * (tau + extra),
            at_most=len(self.scales) > 1,
        )

    @property
    def differentiates(self) -> frozenset[str]:
        return super().differentiates | ({"generator"} if self.jacobian == "exact" else set())
