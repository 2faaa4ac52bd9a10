"""Information bottlenecks: noise replaces the values of a layer, and the transmitted information is measured in
bits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.draw_mean import entropy_under_noise
from pomelo_lab.explainer.layers import map_of
from pomelo_lab.image_arithmetic import blur

SMALLEST = 1e-12  # least share of noise, so that its logarithm exists
READ_AT_ONCE = 256


@dataclass
class Moments:
    """Mean, spread and activity of every value of a layer, merged batch by batch in float64 (Chan et al. 1979)."""

    n: int = 0
    mean: Tensor | float = 0.0
    square: Tensor | float = 0.0
    non_zero: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Adds a batch of values [M,...]."""
        values = values.double()
        m, mean = len(values), values.mean(0)
        away, total = mean - self.mean, self.n + len(values)
        self.square = self.square + (values - mean).square().sum(0) + away.square() * self.n * m / total
        self.mean = self.mean + away * m / total
        self.non_zero = self.non_zero + (values != 0).sum(0)
        self.n = total

    def tensors(self, active_share: float) -> dict[str, Tensor]:
        """mean, std (n - 1) and active, float32 [...]. active is 1.0 where more than that share of the values is not
        zero."""
        std = (self.square / max(1, self.n - 1)).sqrt()
        return {
            "mean": self.mean.float(),
            "std": std.float(),
            "active": (self.non_zero > active_share * self.n).float(),
        }


def bottleneck_map(method: str, classifier: WhiteBox, name: str | None, image: Tensor) -> Tensor:
    """The map [1,C,h,w] of an image at the layer of the bottleneck.

    Raises: ValueError, which names the layer, when the layer gives no map.
    """
    module, layer = classifier.module(), classifier.bottleneck(name)
    return map_of(method, module, next(known for known, part in module.network.named_modules() if part is layer), image)


def layer_statistics(
    training: Dataset, classifier: WhiteBox, layer: nn.Module, n_images: int, active_share: float
) -> dict[str, Tensor]:
    """Measures moments of a layer's output over the first images of the training split.

    Raises: ValueError when the layer gives no map [M,C,h,w].
    """
    moments, order = Moments(), training.order()[:n_images].tolist()
    for start in range(0, len(order), READ_AT_ONCE):
        images = training.batch(order[start : start + READ_AT_ONCE]).image.to(classifier.device)
        with torch.no_grad():
            values = classifier.forwards(lambda part: classifier.activation(part, layer), images)
        if values.ndim != 4:
            raise ValueError(
                f"explainer.layer must give maps [M,C,h,w], {type(layer).__name__} gives {list(values.shape)}"
            )
        moments.add(values)
    return moments.tensors(active_share)


def passes(logit: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The shares of signal and noise (lambda, 1 - lambda) for logits [...,h,w]. Each is blurred over `sigma` cells
    (cut off at two); 0 = no blur."""
    signal, noise = logit.sigmoid(), (-logit).sigmoid()  # computed separately, because 1 - sigmoid rounds to 0
    if not sigma:
        return signal, noise
    return blur(signal, sigma, cut=2.0), blur(noise, sigma, cut=2.0)


def capacity(signal: Tensor, noise: Tensor, standard: Tensor) -> Tensor:
    """The information in nats that passes at standardised values r: KL(N(signal r, noise^2) || N(0, 1))."""
    return -(1 + 2 * noise.clamp_min(SMALLEST).log() - (signal * standard).square() - noise.square()) / 2


@dataclass(frozen=True)
class LayerInformation:
    """The information that a bottleneck at a layer transmits.

    value: values of the layer [B,C,h,w].
    nats: information at each value [B,C,h,w].
    entropy: cross-entropy of the last step [B].
    losses: loss of every step [B,T].
    """

    layer: nn.Module
    value: Tensor
    nats: Tensor
    entropy: Tensor
    losses: Tensor

    def select(self, rows: slice) -> LayerInformation:
        """The information of some of the images."""
        tensors = ("value", "nats", "entropy", "losses")
        return replace(self, **{name: getattr(self, name)[rows] for name in tensors})


@dataclass(frozen=True, kw_only=True)
class FeatureBottleneck:
    """Adds to every value of a layer as much noise as the prediction tolerates.

    Source: Schulz et al. (2020), https://arxiv.org/abs/2001.00396, per-sample bottleneck and its code. Departures: the
        capacity is read after the last step (the published code keeps the one before it). Images are optimised
        together, and the loss of each is a mean over its draws.
    Args: see IBAExplainer.
    """

    beta: float
    n_steps: int
    lr: float
    n_draws: int
    init: float
    sigma: float
    min_std: float

    @torch.enable_grad()
    def optimize(self, case: Case, layer: nn.Module, purpose: str) -> LayerInformation:
        """Optimises the bottlenecks of all images together and returns them after the last step.

        Args:
            case: its reference holds `layer_statistics`.
            purpose: name of the random draws.
        """
        classifier, image = case.classifier, case.batch.image
        with torch.no_grad():
            value = classifier.forwards(lambda part: classifier.activation(part, layer), image)
        mean, active = case.reference["mean"], case.reference["active"]
        std = case.reference["std"].clamp_min(self.min_std)
        standard = (value - mean) / std
        logit = torch.full_like(value, self.init).requires_grad_(True)
        optimizer = torch.optim.Adam([logit], lr=self.lr)
        entropy, losses = value.new_full((len(case),), math.nan), value.new_zeros(len(case), self.n_steps)

        def log_odds(row: Tensor, noisy: Tensor) -> Tensor:
            with classifier.replace_output(layer, noisy * active):
                return classifier.log_odds(image[row], case.target[row])

        for step in range(self.n_steps):
            signal, noise = passes(logit, self.sigma)
            kept = signal * value + noise * mean
            entropy = entropy_under_noise(case, f"{purpose}.{step}", self.n_draws, log_odds, kept, noise * std)
            loss = entropy + self.beta * (capacity(signal, noise, standard) * active).flatten(1).mean(1)
            losses[:, step] = loss.detach()
            (logit.grad,) = torch.autograd.grad(loss.sum(), logit)
            optimizer.step()
        with torch.no_grad():
            nats = capacity(*passes(logit, self.sigma), standard) * active
        return LayerInformation(layer, value, nats, entropy.detach(), losses)


def bits(nats: Tensor, shape: tuple[int, int]) -> Tensor:
    """Converts nats at the values of a layer [B,C,h,w] to bits per pixel [B,H,W], with about the same sum."""
    height, width = nats.shape[2:]
    cells = nats.sum(1, keepdim=True) / math.log(2) * (height * width) / (shape[0] * shape[1])
    return F.interpolate(cells, shape, mode="bilinear", align_corners=False)[:, 0]
