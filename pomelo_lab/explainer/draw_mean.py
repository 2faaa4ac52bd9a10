"""Means over random draws of a differentiable answer: images times draws are one batch axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pomelo_lab.batching import MicroBatches, index_pairs
from pomelo_lab.explainer.case import Case
from pomelo_lab.explainer.gradient_mean import PointDraws


def mean_over_draws(batches: MicroBatches, n_draws: int, answer: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The mean answer over n draws of each image, differentiable in the inputs.

    The rows of all images are one axis, which only the micro-batches cut. The derivatives are computed together with
    the answers, and added in float64 in the order of the draws, so that they do not depend on the cuts.

    Args:
        batches: `WhiteBox.gradients`, where the answers are the classifier's.
        answer: (image number int64 [M], draw int64 [M], the inputs of these images [M,...] each) -> [M].
        inputs: what the answers of an image depend on, [B,...] each.
    Shapes: -> [B].
    Cost: n_draws forward and backward passes per image.
    """
    return _Mean.apply(batches, n_draws, answer, *inputs)


def entropy_under_noise(
    case: Case, purpose: str, n_draws: int, log_odds: Callable[[Tensor, Tensor], Tensor], mean: Tensor, std: Tensor
) -> Tensor:
    """The mean cross-entropy of each image over draws of Gaussian noise, differentiable in its mean and deviation.

    Args:
        purpose: name of the random draws.
        log_odds: (image number int64 [M], noisy values [M,...]) -> log-odds of the target [M].
        mean, std: of the noisy values, [B,...] each; the shape of an image's deviation may be broadcast.
    Shapes: -> [B], in nats.
    Random: n_draws normals of the mean's shape per image.
    """
    size, device = (n_draws, *mean.shape[1:]), mean.device
    normal = PointDraws(case.batch.image_id, lambda name: case.streams.normal([name], purpose, *size, device=device))

    def answer(row: Tensor, draw: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        odds = log_odds(row, mean + std * normal(row, draw))
        return F.softplus(-odds.double())  # -log p; in float32 it is rounded by the place of a row in the batch

    return mean_over_draws(case.classifier.gradients, n_draws, answer, mean, std).to(mean)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, batches: MicroBatches, n_draws: int, answer: Callable[..., Tensor], *inputs: Tensor
    ) -> Tensor:
        row, draw = index_pairs(len(inputs[0]), n_draws, inputs[0].device)
        slopes = [torch.zeros_like(value, dtype=torch.float64) for value in inputs]

        def part(start: int, stop: int) -> Tensor:
            rows = row[start:stop]
            with torch.enable_grad():
                given = [value.detach()[rows].requires_grad_(True) for value in inputs]
                answers = answer(rows, draw[start:stop], *given)
                derivatives = torch.autograd.grad(answers.sum(), given)
            for slope, more in zip(slopes, derivatives, strict=True):
                slope.index_add_(0, rows, more.double())
            return answers.detach()

        means = batches.rows(part, len(row)).view(-1, n_draws).mean(1)
        ctx.save_for_backward(*((slope / n_draws).to(value.dtype) for slope, value in zip(slopes, inputs, strict=True)))
        return means

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        slopes = (slope * above.view(-1, *[1] * (slope.dim() - 1)).to(slope) for slope in ctx.saved_tensors)
        return None, None, None, *slopes
