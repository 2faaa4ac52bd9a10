"""Attribution by the information that may be destroyed: noise as much as the prediction bears, counted in nats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, Positive, Range
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.base import VALUE_BYTES, Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import record
from pomelo_lab.explainer.postprocessed import Postprocessed
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.sde import VE, VP, cumulative_information, interpolate_information
from pomelo_lab.image_arithmetic import blur
from pomelo_lab.types import Explanation

Time = Annotated[float, Range(above=0, below=1)]


@dataclass(kw_only=True)
class FisherSDEExplainer(Postprocessed, Explainer):
    """Every pixel is diffused to a time of its own; times grow while the target stays predicted; what a pixel still
    tells is its attribution.

    Source: "Fisher Divergence for Attribution through Stochastic Differential Equations", eq. 32-50 (sections 3.2.4 to
        3.2.6; no public code). Minimises cross-entropy - weight * mean t over per-pixel times, then integrates the
        Fisher divergence, that is the squared error of the denoiser's noise estimate, over log SNR. Departures, where
        the paper is silent or cannot be meant: the penalty is a mean over pixels (a sum would drown the cross-entropy);
        noise levels are shared by all pixels when the error is measured (the network has no other); the curve is read
        at each pixel's time; the integral is over log SNR (over t it diverges).
    Args:
        generator: the denoiser; left out of the config it is the job's generator. None: only reading=one_minus_t, which
            asks no denoiser.
        process: vp = variance preserving, beta from beta_min to beta_max; ve = variance exploding, deviation from
            sigma_min to sigma_max.
        reading: what the map shows, all from the same times. "retained": information kept, relative to t = 1; "eq49":
            minus the information lost from t_min on, the equation as printed; "one_minus_t": the times alone.
        weight: of the mean time; the paper's eq. 33 has none, which is 1.
        start_weight, anneal: the weight falls from start_weight (if that is larger) geometrically to `weight` over this
            share of the steps: at 1 the noise of the cross-entropy's gradients hides the even push of the mean time for
            a thousand steps. The objective recorded is that of `weight` throughout. Larger starts destroy what the
            cross-entropy then has no gradient left to ask back.
        n_steps, lr: of Adam on the times' logits.
        n_draws: noisy versions of the image per step.
        init: logit of all times at the start (-5: t = 0.007).
        t_min: least time; the equation as printed diverges at 0.
        cell_px: pixels along the side of the cells that share a time; 1 = none share.
        sigma_px: deviation of a Gaussian over the times; 0 = none.
        per_channel: times per channel instead of per pixel; maps are sums over channels then (of times: the mean).
        n_levels, n_curve_draws: noise levels and draws of the information curve; levels of one image share their draws.
        clamp: clamp noisy images to [0,1] before they are classified.
    Shapes: extra, per image: "time" [B,H,W]; [B]: "cross_entropy" of the last step, "mean_time", "noise_probability"
        (of the target on pure noise) and "noise_class" (1.0 where the classifier calls pure noise the target: nothing
        need be kept, the map is flat); "loss", "mean_times" [B,n_steps] and "moving" [B]: the objective and its mean
        time before each step (their weighted sum is the cross-entropy), and whether it was still changing
        (pomelo_lab.explainer.convergence); "objective" and "eq33" [B]: it over the last tenth of the steps, and the
        same with the paper's weight of 1. With a denoiser also "eq49" [B,H,W]; "curve" [B,n_levels], information of the
        whole image from noise to clean, "log_snr" [B,n_levels]; "information" [B], nats at the optimised times.
    Cost: n_steps * n_draws forwards and backwards, and n_levels * n_curve_draws evaluations of the denoiser, if there
        is one, per image.
    Random: noise per image ("fisher").
    Raises: ValueError for readings that need a denoiser without one.
    """

    gives = frozenset({"attribution"})
    access: ClassVar[str] = "white_box"
    postprocess_arguments = frozenset({"reading"})

    generator: DDPM | None = None
    process: Literal["vp", "ve"] = "vp"
    beta_min: Positive = 0.1
    beta_max: Positive = 20.0
    sigma_min: Positive = 0.01
    sigma_max: Positive = 50.0
    reading: Literal["retained", "eq49", "one_minus_t"] = "retained"
    weight: Positive = 1.0
    start_weight: Positive = 10.0
    anneal: Fraction = 0.5
    n_steps: Natural = 400
    lr: Positive = 0.2
    n_draws: Count = 10
    init: float = -5.0
    t_min: Time = 1e-3
    cell_px: Count = 1
    sigma_px: NonNegative = 0.0
    per_channel: bool = False
    n_levels: Annotated[int, Range(low=2)] = 64
    n_curve_draws: Count = 4
    clamp: bool = False

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Readings in nats without a denoiser."""
        if given["generator"] is None and given["reading"] != "one_minus_t":
            yield (
                f"generator is missing: expected a DDPM, whose errors reading={given['reading']} integrates "
                "(explainer=fisher_times reads 1 - t and needs none)"
            )

    @property
    def sde(self) -> VP | VE:
        """The process."""
        return VP(self.beta_min, self.beta_max) if self.process == "vp" else VE(self.sigma_min, self.sigma_max)

    def explain(self, case: Case) -> Explanation:
        if self.generator is not None:
            self.generator.check_images(case.batch.image)
        optimised = self.optimize_times(case)
        time = optimised.pop("time")
        on_noise = self.answer_on_noise(case)
        maps = {"time": time.mean(1)}
        numbers = {
            **optimised,
            "mean_time": time.mean((1, 2, 3)),
            "noise_probability": on_noise.gather(1, case.target[:, None])[:, 0],
            "noise_class": (on_noise.argmax(1) == case.target).float(),
        }
        if self.generator is None:
            attribution = 1 - maps["time"].float()
        else:
            attribution, information = self.read_information(case, time)
            numbers |= information
        extra = {name: value.float() for name, value in (maps | numbers).items()}
        return Explanation(target=case.target, attribution=attribution, extra=extra)

    def postprocess(self, explanation: Explanation) -> Explanation:
        if self.reading == "retained":
            return explanation
        return replace(
            explanation,
            attribution=explanation.extra["eq49"] if self.reading == "eq49" else 1 - explanation.extra["time"],
        )

    # --- times ----------------------------------------------------------------------------------------------------

    def optimize_times(self, case: Case) -> dict[str, Tensor]:
        """The optimised times and the record of their optimisation; Adam works value by value, so that no image sees
        another."""

        def part(start: int, stop: int) -> tuple[Tensor, ...]:
            return self.optimize(case.select(slice(start, stop)))

        time, loss, mean_times, entropy = case.classifier.forwards.rows(part, len(case), self.n_draws)
        last = slice(-max(1, self.n_steps // 10), None)
        ends = {"objective": loss[:, last].mean(1), "eq33": (loss + (self.weight - 1) * mean_times)[:, last].mean(1)}
        history = record(loss)
        return {"time": time, "cross_entropy": entropy, "mean_times": mean_times, **ends, **history}

    @torch.enable_grad()
    def optimize(self, case: Case) -> tuple[Tensor, ...]:
        """Times [B,1 or C,H,W]; loss and mean time before each step [B,n_steps]; cross-entropy of the last step [B]."""
        image, image_id = case.batch.image, case.batch.image_id
        n, channels, height, width = image.shape
        cells = -(-height // self.cell_px), -(-width // self.cell_px)
        logit = image.new_full((n, channels if self.per_channel else 1, *cells), self.init).requires_grad_(True)
        optimizer = torch.optim.Adam([logit], lr=self.lr)
        entropy = image.new_full((n,), torch.nan)
        losses, mean_times = image.new_zeros(n, self.n_steps), image.new_zeros(n, self.n_steps)
        for step in range(self.n_steps):
            time = self.spread(logit, (height, width))
            noise = case.streams.normal(image_id, f"fisher.time.{step}", self.n_draws, channels, height, width)
            noisy = self.add_noise(image, time, noise.to(image)).flatten(0, 1)
            answer = case.classifier.log_odds(noisy, case.target.repeat_interleave(self.n_draws))
            entropy = F.softplus(-answer).view(n, -1).mean(1)  # -log p
            mean_time = time.mean((1, 2, 3))
            losses[:, step], mean_times[:, step] = (entropy - self.weight * mean_time).detach(), mean_time.detach()
            (logit.grad,) = torch.autograd.grad((entropy - self.weight_at(step) * mean_time).sum(), logit)
            optimizer.step()
        return self.spread(logit.detach(), (height, width)), losses, mean_times, entropy.detach()

    def weight_at(self, step: int) -> float:
        """Weight of the mean time in a step."""
        end, start = self.anneal * self.n_steps, max(self.weight, self.start_weight)
        return self.weight if step >= end else start * (self.weight / start) ** (step / end)

    def spread(self, logit: Tensor, shape: tuple[int, int]) -> Tensor:
        """Logits of cells [B,c,h,w] -> times of pixels [B,c,H,W] in [t_min,1]."""
        time = self.t_min + (1 - self.t_min) * logit.sigmoid()
        if self.cell_px > 1:
            time = time.repeat_interleave(self.cell_px, 2).repeat_interleave(self.cell_px, 3)[
                ..., : shape[0], : shape[1]
            ]
        return blur(time, self.sigma_px) if self.sigma_px else time

    def add_noise(self, image: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Noisy images in [0,1]'s scale: image [B,C,H,W], time [B,1 or C,H,W], noise [B,n,C,H,W] -> [B,n,C,H,W]."""
        mixed = self.sde.signal(time) * DDPM.scaled(image)
        mixed = (mixed[:, None] + self.sde.noise(time)[:, None] * noise + 1) / 2
        return mixed.clamp(0, 1) if self.clamp else mixed

    @torch.no_grad()
    def answer_on_noise(self, case: Case) -> Tensor:
        """Mean probabilities [B,K] where every pixel is at t = 1."""
        image = case.batch.image
        noise = case.streams.normal(case.batch.image_id, "fisher.time.0", self.n_draws, *image.shape[1:]).to(image)
        seen = self.add_noise(image, torch.ones_like(image), noise)
        return case.classifier.probability(seen).mean(1)

    # --- information ----------------------------------------------------------------------------------------------

    def read_information(self, case: Case, time: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The information retained at times [B,1 or C,H,W], in nats [B,H,W], and its extras."""
        log_snr, error = (tensor.to(time.device) for tensor in self.error_curve(case))
        times = time.double().expand(-1, case.batch.image.shape[1], -1, -1)  # [B,C,H,W]
        kept = interpolate_information(self.sde.log_snr(times), log_snr, error)
        whole = interpolate_information(self.sde.log_snr(torch.full_like(times, self.t_min)), log_snr, error)
        retained = kept.sum(1).float()
        return retained, {
            "eq49": (kept - whole).sum(1),
            "curve": cumulative_information(log_snr, error.sum((1, 2, 3))),
            "log_snr": log_snr.expand(len(case), -1),
            "information": retained.sum((1, 2)),
        }

    def nodes(self) -> Tensor:
        """Timesteps of the denoiser at which the error is measured, from noisy to clean: about even in log SNR between
        the process's ends."""
        level = self.generator.alphas_cumprod
        known = (level / (1 - level)).log()
        ends = self.sde.log_snr(torch.tensor([1.0, self.t_min], dtype=torch.float64)).clamp(known.min(), known.max())
        wanted = torch.linspace(float(ends[0]), float(ends[1]), self.n_levels, dtype=torch.float64)
        return (known[None] - wanted[:, None]).abs().argmin(1).unique_consecutive()

    @torch.no_grad()
    def error_curve(self, case: Case) -> tuple[Tensor, Tensor]:
        """(log SNR [K] rising, squared error of the noise estimate [B,C,H,W,K] float64), K <= n_levels.

        Nodes lie at the denoiser's own levels, so that none is asked at a level between its timesteps.
        """
        node = self.nodes()
        level = self.generator.alphas_cumprod[node]
        clean = DDPM.scaled(case.batch.image)
        noise = case.streams.normal(case.batch.image_id, "fisher.curve", self.n_curve_draws, *clean.shape[1:]).to(clean)
        error = clean.new_zeros(*clean.shape, len(node), dtype=torch.float64)
        for k, (t, alpha) in enumerate(zip(node.tolist(), level.tolist(), strict=True)):
            for draw in noise.unbind(1):
                seen = math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * draw

                def part(start: int, stop: int, seen: Tensor = seen, draw: Tensor = draw, t: int = t) -> Tensor:
                    return (self.generator.denoise(seen[start:stop], t)[1] - draw[start:stop]).square()

                error[..., k] += self.generator.forwards.rows(part, len(clean)).double() / self.n_curve_draws
        return (level / (1 - level)).log(), error

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(
            queries=(self.n_steps + 1) * self.n_draws,
            evaluations=self.n_levels * self.n_curve_draws if self.generator is not None else 0,
            bytes=VALUE_BYTES * shape[1] * shape[2] * (1 if self.generator is None else 2),
        )
