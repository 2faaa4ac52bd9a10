"""Attribution by diffusion: adds as much noise to each pixel as the prediction tolerates and measures the information
that remains, in nats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from pomelo_lab.batching import index_pairs
from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, Positive, Range
from pomelo_lab.cost import Cost
from pomelo_lab.explainer.base import VALUE_BYTES, Explainer
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import record
from pomelo_lab.explainer.draw_mean import entropy_under_noise
from pomelo_lab.explainer.gradient_mean import PointDraws
from pomelo_lab.explainer.postprocessed import Postprocessed
from pomelo_lab.generator.ddpm import DDPM
from pomelo_lab.generator.sde import VE, VP, cumulative_information, interpolate_information
from pomelo_lab.image_arithmetic import blur
from pomelo_lab.types import Explanation

Time = Annotated[float, Range(above=0, below=1)]


@dataclass(kw_only=True)
class FisherSDEExplainer(Postprocessed, Explainer):
    """Optimises a diffusion time for every pixel, as large as the prediction allows. The information that a pixel
    retains at its time is its attribution.

    Source: anonymous authors, "Fisher Divergence for Attribution through Stochastic Differential Equations" (undated
        manuscript), https://openreview.net/forum?id=eHIc7SL0sr, eq. 32-50 (sections 3.2.4 to 3.2.6; no public code).
        The method minimises cross-entropy - weight * mean t over per-pixel times. It then integrates the Fisher
        divergence, which is the squared error of the denoiser's noise estimate, over log SNR. Departures, where the
        paper is silent or its text cannot be meant: the penalty is a mean over pixels (a sum would outweigh the
        cross-entropy). All pixels share a noise level when the error is measured, because the network has one noise
        level per image. The curve is read at each pixel's time. The integral is over log SNR (over t it diverges).
    Args:
        generator: the denoiser. If the config leaves it out, the job's generator is used. None is possible only with
            reading=one_minus_t, which evaluates no denoiser.
        process: vp = variance preserving, beta from beta_min to beta_max; ve = variance exploding, deviation from
            sigma_min to sigma_max.
        reading: content of the map; all readings use the same times. "retained" = information kept, relative to t = 1;
            "eq49" = minus the information lost from t_min on, the equation as printed; "one_minus_t" = 1 - time.
        weight: weight of the mean time. The paper's eq. 33 has no weight, which corresponds to 1.
        start_weight, anneal: the weight falls geometrically from start_weight (if that is larger) to `weight` over the
            share `anneal` of the steps. With a weight of 1 from the start, the noise of the cross-entropy's gradients
            hides the uniform gradient of the mean time for a thousand steps. A much larger start_weight destroys
            information for good, because the cross-entropy then has no gradient. The recorded objective uses `weight`
            at every step.
        n_steps, lr: steps and learning rate of Adam on the logits of the times.
        n_draws: noisy versions of the image per step.
        init: logit of all times at the start (-5: t = 0.007).
        t_min: least time; the equation as printed diverges at 0.
        cell_px: side in pixels of the cells that share a time; 1 = each pixel has its own time.
        sigma_px: deviation of a Gaussian filter over the times; 0 = no filter.
        per_channel: one time per channel instead of per pixel. Maps are then sums over channels (of times: the mean).
        n_levels, n_curve_draws: noise levels and draws of the information curve. The levels of one image share draws.
        clamp: clamp noisy images to [0,1] before they are classified.
    Shapes: extra "time" [B,H,W]. extra [B]: "cross_entropy" of the last step, "mean_time", "noise_probability" (the
        target's probability on pure noise) and "noise_class" (1.0 where the classifier assigns pure noise to the
        target: the prediction then needs no pixel and the map is flat). extra [B,n_steps]: "loss", the objective, and
        "mean_times", the mean time, both before each step; loss + weight * mean time is the cross-entropy. extra [B]:
        "moving" (see convergence.py), "objective" (the mean loss over the last tenth of the steps) and "eq33" (the same
        with the paper's weight of 1). With a denoiser also "eq49" [B,H,W]; "curve" and "log_snr" [B,n_levels], the
        information of the whole image from noise to clean; "information" [B], in nats at the optimised times.
    Cost: per image n_steps * n_draws forward and backward passes of the classifier, and n_levels * n_curve_draws
        evaluations of the denoiser if one is used.
    Random: noise per image ("fisher").
    Raises: ValueError for a reading that needs a denoiser when none is given.
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
        """Reports a reading in nats when no denoiser is given."""
        if given["generator"] is None and given["reading"] != "one_minus_t":
            yield (
                f"generator is missing: expected a DDPM, whose errors reading={given['reading']} integrates "
                "(explainer=fisher_times reads 1 - t and needs none)"
            )

    @property
    def sde(self) -> VP | VE:
        """The stochastic differential equation of `process`."""
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
        """Optimises the times and records the optimisation."""
        time, loss, mean_times, entropy = self.optimize(case)
        last = slice(-max(1, self.n_steps // 10), None)
        ends = {"objective": loss[:, last].mean(1), "eq33": (loss + (self.weight - 1) * mean_times)[:, last].mean(1)}
        history = record(loss)
        return {"time": time, "cross_entropy": entropy, "mean_times": mean_times, **ends, **history}

    @torch.enable_grad()
    def optimize(self, case: Case) -> tuple[Tensor, ...]:
        """Optimises the times of all images together.

        Adam treats each value by itself, so images do not influence each other.

        Returns: (times [B,1 or C,H,W], loss and mean time before each step [B,n_steps], cross-entropy of the last step
            [B]).
        """
        image = case.batch.image
        n, channels, height, width = image.shape
        cells = -(-height // self.cell_px), -(-width // self.cell_px)
        logit = image.new_full((n, channels if self.per_channel else 1, *cells), self.init).requires_grad_(True)
        optimizer = torch.optim.Adam([logit], lr=self.lr)
        entropy = image.new_full((n,), torch.nan)
        losses, mean_times = image.new_zeros(n, self.n_steps), image.new_zeros(n, self.n_steps)

        def log_odds(row: Tensor, noisy: Tensor) -> Tensor:
            return case.classifier.log_odds(self.unscaled(noisy), case.target[row])

        for step in range(self.n_steps):
            time = self.spread(logit, (height, width))
            mean, std = self.diffuse(image, time)
            entropy = entropy_under_noise(case, f"fisher.time.{step}", self.n_draws, log_odds, mean, std)
            mean_time = time.mean((1, 2, 3))
            losses[:, step], mean_times[:, step] = (entropy - self.weight * mean_time).detach(), mean_time.detach()
            (logit.grad,) = torch.autograd.grad((entropy - self.weight_at(step) * mean_time).sum(), logit)
            optimizer.step()
        return self.spread(logit.detach(), (height, width)), losses, mean_times, entropy.detach()

    def weight_at(self, step: int) -> float:
        """The annealed weight of the mean time at a step."""
        end, start = self.anneal * self.n_steps, max(self.weight, self.start_weight)
        return self.weight if step >= end else start * (self.weight / start) ** (step / end)

    def spread(self, logit: Tensor, shape: tuple[int, int]) -> Tensor:
        """Converts logits of cells [B,c,h,w] to times of pixels [B,c,H,W] in [t_min,1]."""
        time = self.t_min + (1 - self.t_min) * logit.sigmoid()
        if self.cell_px > 1:
            time = time.repeat_interleave(self.cell_px, 2).repeat_interleave(self.cell_px, 3)[
                ..., : shape[0], : shape[1]
            ]
        return blur(time, self.sigma_px) if self.sigma_px else time

    def diffuse(self, image: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the deviation of images diffused to per-pixel times, in the scale of [-1,1].

        Shapes: image [B,C,H,W], time [B,1 or C,H,W] -> [B,C,H,W], [B,1 or C,H,W].
        """
        return self.sde.signal(time) * DDPM.scaled(image), self.sde.noise(time)

    def unscaled(self, noisy: Tensor) -> Tensor:
        """Noisy images in the scale of [0,1], clamped to it if `clamp` is set."""
        images = (noisy + 1) / 2
        return images.clamp(0, 1) if self.clamp else images

    @torch.no_grad()
    def answer_on_noise(self, case: Case) -> Tensor:
        """Mean probabilities of the classifier on pure noise, where every pixel is at t = 1: [B,K]."""
        image = case.batch.image
        size = self.n_draws, *image.shape[1:]
        noise = case.streams.normal(case.batch.image_id, "fisher.time.0", *size, device=image.device)
        mean, std = self.diffuse(image, torch.ones_like(image))
        return case.classifier.probability(self.unscaled(mean[:, None] + std[:, None] * noise)).mean(1)

    # --- information ----------------------------------------------------------------------------------------------

    def read_information(self, case: Case, time: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The information that each pixel retains at its time, in nats, and the extras that belong to it.

        Shapes: time [B,1 or C,H,W] -> [B,H,W].
        """
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
        """Timesteps of the denoiser at which its error is measured, from noisy to clean.

        They are about evenly spaced in log SNR between the ends of the process.
        """
        level = self.generator.alphas_cumprod
        known = (level / (1 - level)).log()
        ends = self.sde.log_snr(torch.tensor([1.0, self.t_min], dtype=torch.float64)).clamp(known.min(), known.max())
        wanted = torch.linspace(float(ends[0]), float(ends[1]), self.n_levels, dtype=torch.float64)
        return (known[None] - wanted[:, None]).abs().argmin(1).unique_consecutive()

    @torch.no_grad()
    def error_curve(self, case: Case) -> tuple[Tensor, Tensor]:
        """Measures the squared error of the noise estimate at K <= n_levels noise levels.

        Images, levels and draws are one axis, which only the micro-batches cut.
        The levels are those of the denoiser's timesteps, so it is never evaluated between two of them.

        Returns: (log SNR [K] rising, squared error float64 [B,C,H,W,K]).
        """
        node, image = self.nodes(), case.batch.image
        level, draws = self.generator.alphas_cumprod[node], self.n_curve_draws
        signal, deviation = (share.to(image)[:, None, None, None] for share in (level.sqrt(), (1 - level).sqrt()))
        clean, timestep = DDPM.scaled(image), node.to(image.device)

        def draw_all(name: str) -> Tensor:
            return case.streams.normal([name], "fisher.curve", draws, *image.shape[1:], device=image.device)

        normal = PointDraws(case.batch.image_id, draw_all)
        row, point = index_pairs(len(case), len(node) * draws, image.device)
        error = torch.zeros(len(case) * len(node), *image.shape[1:], dtype=torch.float64, device=image.device)

        def part(start: int, stop: int) -> Tensor:
            rows, k = row[start:stop], point[start:stop] // draws
            noise = normal(rows, point[start:stop] % draws)
            seen = signal[k] * clean[rows] + deviation[k] * noise
            missed = (self.generator.denoise(seen, timestep[k])[1] - noise).square()
            error.index_add_(0, rows * len(node) + k, missed.double() / draws)
            return seen.new_empty(len(rows), 0)

        self.generator.forwards.rows(part, len(row))
        return (level / (1 - level)).log(), error.unflatten(0, (len(case), -1)).movedim(1, -1)

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        return super().cost(shape) + Cost(
            queries=(self.n_steps + 1) * self.n_draws,
            evaluations=self.n_levels * self.n_curve_draws if self.generator is not None else 0,
            bytes=VALUE_BYTES * shape[1] * shape[2] * (1 if self.generator is None else 2),
        )
