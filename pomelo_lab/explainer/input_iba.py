"""InputIBA: attribution by an information bottleneck on the input image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.batching import RandomStreams
from pomelo_lab.classifier.base import WhiteBox
from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, Positive
from pomelo_lab.cost import Cost
from pomelo_lab.dataset.base import Dataset
from pomelo_lab.explainer.base import VALUE_BYTES, Explainer
from pomelo_lab.explainer.bottleneck import (
    READ_AT_ONCE,
    SMALLEST,
    FeatureBottleneck,
    LayerInformation,
    bits,
    bottleneck_map,
    layer_statistics,
    passes,
)
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.convergence import record
from pomelo_lab.explainer.draw_mean import entropy_under_noise
from pomelo_lab.types import Explanation

# ranges of the deviation and the mean of the noise that replaces information at the layer
NOISE_STD, NOISE_MEAN = (0.0, 5.0), (-2.0, 2.0)


@dataclass(kw_only=True)
class InputIBAExplainer(Explainer):
    """Measures the share of every pixel that passes an information bottleneck at the input. The prior of that
    bottleneck comes from a second bottleneck at a layer.

    Source: Zhang et al. (2021), https://arxiv.org/abs/2110.01888, and its code. Three stages run per image. (1) A
        bottleneck at a layer. (2) A WGAN whose generator is a masked noisy image passed through the lower layers; it
        learns to imitate the values of the layer behind that bottleneck. (3) A bottleneck at the input, whose
        information is measured relative to the generator's mask. The noise of stage 3 has mean 0 and deviation 1,
        because the published code passes on the mask but not the generator's learned mean and deviation. Departures:
        pixels are standardised by the training images' mean and deviation per channel (the code: ImageNet's). The
        networks of all images of a batch are trained together, as grouped convolutions.
    Args:
        layer: layer of the feature bottleneck; None = the classifier's default layer.
        feature_beta, n_feature_steps: weight and steps of the feature bottleneck, which is not blurred.
        n_real, n_groups: number of real examples, which are noisy values of the layer, and of noise settings among
            them.
        n_epochs, gan_batch, n_critic, clip: of the WGAN: passes over the examples, examples per step, critic steps per
            generator step (the count restarts in each pass), bound of the critic's weights.
        lr_critic, lr_mask, lr_mean, lr_std: learning rates of RMSprop.
        beta, n_steps: weight and steps of the input bottleneck.
        sigma_px: deviation of the Gaussian filter over the passing share at the input; 0 = no filter.
        lr, n_draws, init, min_std, n_fit, active_share: of both bottlenecks, as in IBAExplainer.
    Shapes: attribution [B,H,W] in [0,1] is the mean over channels of the passing share before the filter, as in the
        published code. extra: "generated" [B,H,W], the generator's mask; "feature_bits" [B,H,W]; "cross_entropy" and
        "information" (bits beyond the generator's mask) [B]; "loss" and "moving" of the input bottleneck;
        "feature_loss" and "feature_moving" of the feature bottleneck.
    Cost: n_feature_steps * n_draws + n_steps * n_draws forward and backward passes. In addition one forward pass of
        the lower layers and one critic step for each of n_epochs * n_real examples.
    Random: per image ("input_iba.*").
    """

    gives = frozenset({"attribution"})
    revision: ClassVar[int] = 2  # 1 counted information against the generator's learned noise, and stored no losses
    access: ClassVar[str] = "white_box"
    fit_arguments = frozenset({"layer", "n_fit", "active_share"})

    layer: str | None = None
    feature_beta: NonNegative = 20.0
    n_feature_steps: Natural = 10
    n_real: Count = 200
    n_groups: Count = 10
    n_epochs: Natural = 20
    gan_batch: Count = 32
    n_critic: Count = 5
    clip: Positive = 0.01
    lr_critic: Positive = 5e-5
    lr_mask: Positive = 3e-3
    lr_mean: Positive = 0.1
    lr_std: Positive = 0.05
    beta: NonNegative = 20.0
    n_steps: Natural = 60
    sigma_px: NonNegative = 1.0
    lr: Positive = 1.0
    n_draws: Count = 10
    init: float = 5.0
    min_std: Positive = 0.01
    n_fit: Count = 1000
    active_share: Fraction = 0.01

    @classmethod
    def config_problems(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """Reports noise groups of unequal size."""
        if given["n_real"] % given["n_groups"]:
            yield f"n_real must be a multiple of n_groups={given['n_groups']}, got {given['n_real']}"

    @classmethod
    def check_network(cls, given: Mapping[str, Any], classifier: WhiteBox, image: Tensor) -> None:
        height, width = bottleneck_map(cls.__name__, classifier, given["layer"], image).shape[2:]
        if min(height, width) < 4:
            raise ValueError(
                f"explainer.layer must give maps of 4x4 cells or more, this one gives {height}x{width}: "
                f"name an earlier layer"
            )

    def fit(self, training: Dataset, classifier: WhiteBox) -> dict[str, Tensor]:
        statistics = layer_statistics(
            training, classifier, classifier.bottleneck(self.layer), self.n_fit, self.active_share
        )
        order = training.order()[: self.n_fit].tolist()
        totals = torch.zeros(2, training.shape[0], dtype=torch.float64)
        for start in range(0, len(order), READ_AT_ONCE):
            images = training.batch(order[start : start + READ_AT_ONCE]).image.double()
            totals += torch.stack([images.mean((2, 3)).sum(0), images.square().mean((2, 3)).sum(0)])
        mean, square = totals / len(order)
        return {**statistics, "pixel_mean": mean.float(), "pixel_std": (square - mean.square()).sqrt().float()}

    def explain(self, case: Case) -> Explanation:
        classifier, image = case.classifier, case.batch.image
        self.check(classifier, image[:1])
        bottleneck = FeatureBottleneck(
            beta=self.feature_beta,
            n_steps=self.n_feature_steps,
            lr=self.lr,
            n_draws=self.n_draws,
            init=self.init,
            sigma=0.0,
            min_std=self.min_std,
        )
        feature = bottleneck.optimize(case, classifier.bottleneck(self.layer), "input_iba.feature")
        feature_bits = bits(feature.nats, image.shape[2:])
        scale = Scale(case.reference["pixel_mean"], case.reference["pixel_std"])

        def part(start: int, stop: int) -> Tensor:
            rows = slice(start, stop)
            start_mask = MaskedNoise(image[rows], scale, feature_bits[rows])
            return self.train_generator(case.select(rows), feature.select(rows), start_mask)

        mask = classifier.forwards.rows(part, len(case), self.gan_batch)
        maps, entropy, information, losses = self.optimize_input(case, scale, mask)
        extra = {"generated": mask.sigmoid().mean(1), "feature_bits": feature_bits}
        extra |= {"cross_entropy": entropy, "information": information, **record(losses)}
        extra |= {f"feature_{name}": value for name, value in record(feature.losses).items()}
        return Explanation(target=case.target, attribution=maps, extra=extra)

    # --- the generator --------------------------------------------------------------------------------------------

    @torch.enable_grad()
    def train_generator(self, case: Case, feature: LayerInformation, generator: MaskedNoise) -> Tensor:
        """Trains one generator per image against one critic per image, and returns the logits of the masks [B,C,H,W].

        The images are those that fit into memory together, because the critic sees all values of an image at once.
        """
        ids, image, streams, value = case.batch.image_id, case.batch.image, case.streams, feature.value
        critics = Critics(ids, value.shape[1:], streams).to(value.device)
        steps = [
            torch.optim.RMSprop([generator.mask], lr=self.lr_mask),
            torch.optim.RMSprop([generator.mean], lr=self.lr_mean),
            torch.optim.RMSprop([generator.std], lr=self.lr_std),
        ]
        critic_step = torch.optim.RMSprop(critics.parameters(), lr=self.lr_critic)
        real = self.examples(ids, feature, streams)
        order = streams.permutation(ids, "input_iba.order", max(1, self.n_epochs), self.n_real).to(value.device)
        every_row = torch.arange(len(case), device=value.device)[:, None]

        def fake(purpose: str, n: int) -> Tensor:
            made = generator(streams.normal(ids, purpose, n, *image.shape[1:]).to(image))
            return case.classifier.activation(made.flatten(0, 1), feature.layer).unflatten(0, (len(case), n))

        for epoch in range(self.n_epochs):
            for number, chosen in enumerate(order[:, epoch].split(self.gan_batch, 1)):
                n = chosen.shape[1]
                with torch.no_grad():
                    made = fake(f"input_iba.critic.{epoch}.{number}", n)
                loss = critics(made).mean(1) - critics(real[every_row, chosen]).mean(1)
                critic_step.zero_grad()
                loss.sum().backward()
                critic_step.step()
                critics.clip(self.clip)
                if number % self.n_critic:
                    continue
                loss = -critics(fake(f"input_iba.generator.{epoch}.{number}", n)).mean(1)
                for step in steps:
                    step.zero_grad()
                loss.sum().backward(inputs=[generator.mask, generator.mean, generator.std])
                for step in steps:
                    step.step()
        return generator.mask.detach()

    def examples(self, ids: tuple[str, ...], feature: LayerInformation, streams: RandomStreams) -> Tensor:
        """Draws the real examples: values of the layer, with noise where the bottleneck lets nothing pass.

        Shapes: [B,n_real,C,h,w].
        """
        kept, value = feature.nats, feature.value
        spread = streams.uniform(ids, "input_iba.groups", 2, self.n_groups).repeat_interleave(
            self.n_real // self.n_groups, 2
        )
        std, mean = (low + (high - low) * spread[:, i] for i, (low, high) in enumerate((NOISE_STD, NOISE_MEAN)))
        noise = streams.normal(ids, "input_iba.real", self.n_real, *value.shape[1:])
        noise = noise.mul_(std[..., None, None, None]).add_(mean[..., None, None, None]).to(value)
        # as in the published code, capacities are weights even where they exceed 1
        return (kept * value)[:, None] + (1 - kept)[:, None] * noise

    # --- the input bottleneck -------------------------------------------------------------------------------------

    @torch.enable_grad()
    def optimize_input(self, case: Case, scale: Scale, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Optimises the input bottlenecks of all images together.

        Args: mask: logits of the generators' masks [B,C,H,W].
        Returns: (attribution [B,H,W], cross-entropy [B], bits beyond the generator's mask [B], loss of every step
            [B,T]).
        """
        x = scale.standard(case.batch.image)
        logit = torch.full_like(x, self.init).requires_grad_(True)
        optimizer = torch.optim.Adam([logit], lr=self.lr)
        entropy, losses = x.new_full((len(x),), math.nan), x.new_zeros(len(x), self.n_steps)

        def log_odds(row: Tensor, noisy: Tensor) -> Tensor:
            return case.classifier.log_odds(scale.image(noisy), case.target[row])

        for step in range(self.n_steps):
            signal, noise = passes(logit, self.sigma_px)
            entropy = entropy_under_noise(case, f"input_iba.input.{step}", self.n_draws, log_odds, signal * x, noise)
            loss = entropy + self.beta * information_beyond(mask, x, signal, noise).flatten(1).mean(1)
            losses[:, step] = loss.detach()
            (logit.grad,) = torch.autograd.grad(loss.sum(), logit)
            optimizer.step()
        with torch.no_grad():
            nats = information_beyond(mask, x, *passes(logit, self.sigma_px)).flatten(1).sum(1)
        return logit.detach().sigmoid().mean(1), entropy.detach(), nats / math.log(2), losses

    def fit_cost(self, n_training: int) -> Cost:
        return Cost(queries=min(self.n_fit, n_training))

    def cost(self, shape: tuple[int, int, int]) -> Cost:
        gan = self.n_epochs * (self.n_real + -(-self.n_real // (self.gan_batch * self.n_critic)) * self.gan_batch)
        return super().cost(shape) + Cost(
            queries=1 + (self.n_feature_steps + self.n_steps) * self.n_draws + gan,
            bytes=2 * VALUE_BYTES * shape[1] * shape[2],
        )


@dataclass(frozen=True)
class Scale:
    """Converts between images in [0,1] and standardised pixels of mean 0 and deviation 1 per channel."""

    mean: Tensor  # [C]
    std: Tensor

    def standard(self, images: Tensor) -> Tensor:
        return (images - self.mean.to(images)[:, None, None]) / self.std.to(images)[:, None, None]

    def image(self, x: Tensor) -> Tensor:
        return x * self.std.to(x)[:, None, None] + self.mean.to(x)[:, None, None]


class MaskedNoise:
    """Mixes each image with noise by a learned mask. The noise has a learned mean and deviation per channel.

    Args: start [B,H,W]: bits of the feature bottleneck. They are the initial logits of the mask, as in the published
        code.
    """

    def __init__(self, images: Tensor, scale: Scale, start: Tensor) -> None:
        self.x, self.scale = scale.standard(images), scale
        self.mask = start[:, None].repeat(1, images.shape[1], 1, 1).requires_grad_(True)
        self.mean = images.new_zeros(*images.shape[:2], 1, 1).requires_grad_(True)
        self.std = images.new_ones(*images.shape[:2], 1, 1).requires_grad_(True)

    def __call__(self, noise: Tensor) -> Tensor:
        """Converts standard normals [B,n,C,H,W] to mixed images of the same shape, around [0,1]."""
        keep = self.mask.sigmoid()[:, None]
        return self.scale.image(keep * self.x[:, None] + (1 - keep) * (self.std[:, None] * noise + self.mean[:, None]))


def information_beyond(mask: Tensor, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """The information of a mixture in nats [B,C,H,W]: KL(N(signal x, noise^2) || N(m signal x, (1 - m signal)^2)).

    The information is 0 where nothing passes.

    Args: mask: logits of the mask m.
    """
    share = mask.sigmoid()
    left = ((-mask).sigmoid() + share * noise).clamp_min(SMALLEST)  # 1 - m signal
    noise, away = noise.clamp_min(SMALLEST), (1 - share) * signal * x
    return (left / noise).log() + ((noise / left).square() + (away / left).square() - 1) / 2


class Critics(nn.Module):
    """One WGAN critic per image, evaluated together as grouped convolutions.

    Each critic has two 4x4 convolutions of stride 2 to twice and four times the channels, and a 3x3 convolution back.
    Batch norm and a leaky ReLU follow each. Linear layers to 512, 256 and one value come last.

    Random: weights per image, in torch's default ranges.
    """

    def __init__(self, ids: tuple[str, ...], shape: tuple[int, int, int], streams: RandomStreams) -> None:
        super().__init__()
        channels, height, width = shape
        self.n = len(ids)
        chain = [(channels, 2 * channels, 4), (2 * channels, 4 * channels, 4), (4 * channels, channels, 3)]
        self.kernels, self.biases, self.gains, self.shifts = (nn.ParameterList() for _ in range(4))
        for i, (before, after, side) in enumerate(chain):
            bound = (before * side**2) ** -0.5
            drawn = streams.uniform(ids, f"input_iba.conv.{i}", after * before * side**2 + after) * 2 * bound - bound
            self.kernels.append(drawn[:, :-after].reshape(-1, before, side, side))
            self.biases.append(drawn[:, -after:].flatten())
            self.gains.append(torch.ones(self.n * after))
            self.shifts.append(torch.zeros(self.n * after))
        sizes = [channels * (height // 4) * (width // 4), 512, 256, 1]
        self.weights, self.offsets = nn.ParameterList(), nn.ParameterList()
        for i, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False)):
            drawn = (streams.uniform(ids, f"input_iba.linear.{i}", before + 1, after) * 2 - 1) * before**-0.5
            self.weights.append(drawn[:, :-1].contiguous())
            self.offsets.append(drawn[:, -1:].contiguous())

    def forward(self, values: Tensor) -> Tensor:
        """Scores n values of the layer for each image: [B,n,C,h,w] -> [B,n]."""
        x = values.transpose(0, 1).flatten(1, 2)  # [n,B*C,h,w]: one group per image
        for kernel, bias, gain, shift in zip(self.kernels, self.biases, self.gains, self.shifts, strict=True):
            stride = 2 if kernel.shape[-1] == 4 else 1
            x = F.conv2d(x, kernel, bias, stride=stride, padding=1, groups=self.n)
            x = F.leaky_relu(F.batch_norm(x, None, None, gain, shift, training=True), 0.2)
        x = x.unflatten(1, (self.n, -1)).transpose(0, 1).flatten(2)  # [B,n,D]
        for i, (weight, offset) in enumerate(zip(self.weights, self.offsets, strict=True)):
            x = torch.baddbmm(offset, x if i == 0 else F.leaky_relu(x, 0.2), weight)
        return x[..., 0]

    def clip(self, bound: float) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.clamp_(-bound, bound)
