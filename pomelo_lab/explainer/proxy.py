"""The proxy of global counterfactual directions: a small network that predicts the scores of rendered codes, so that
they can be differentiated."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.config.hints import Count, Fraction, Natural, NonNegative, Positive
from pomelo_lab.config.signature import Component


@dataclass(kw_only=True)
class Proxy(Component):
    """A multilayer perceptron that predicts the class scores and the distance of a rendered image from the displacement
    of its code.

    Source: Sobieski & Biecek (2024), "Global Counterfactual Directions", https://arxiv.org/abs/2404.12488, section 4,
        and their code (four linear layers, 512-256-128-64; the paper states five). Training ends when the validation
        loss exceeds the mean of its last `patience` values. Departures: this rule applies only after `least_steps`, and
        the weights of the best epoch are kept (the code keeps the last).
    Args:
        widths: outputs of the hidden layers; n of them make n + 1 linear layers.
        activation: sigmoid (the paper) or silu.
        lr, weight_decay, batch, n_epochs: of AdamW; n_epochs is the largest number of epochs.
        patience: epochs of the mean.
        least_steps: steps of the optimiser before the rule may end training. Layers of sigmoids rest on a plateau at
            first, and with few examples an epoch has few steps (at the published sizes 5 epochs are 2,000 steps). 0,
            the value at scale=paper, is the authors' code.
        weights: weights of the mean squared errors of the class scores and of the distance.
        standardize: divide inputs by their deviation, and bring scores and distance to mean 0 and deviation 1, during
            training; predictions have the original units. False (the code): unscaled, with a sigmoid on the distance,
            which must then lie in (0,1).
        val_share: share of the examples for validation.
        seed: seed of the initial weights and of the order.
    Cost: seconds; no passes of the classifier or the generator. Training is in float64. In float32 the order of sums,
        which depends on the number of threads, affects the directions after some hundred steps.
    """

    # also stands for the searches around it, whose renders a revision of theirs would throw away:
    # of 1, directions of a file kept the unit and the reach of their own search
    revision: ClassVar[int] = 2  # 1 reported the least loss so far, which always ends at rest

    widths: list[int] = field(default_factory=lambda: [256, 128, 64])
    activation: Literal["sigmoid", "silu"] = "sigmoid"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 0.01
    batch: Count = 128
    n_epochs: Count = 1024
    patience: Count = 5
    least_steps: Natural = 0
    weights: list[float] = field(default_factory=lambda: [1.0, 3.0])
    standardize: bool = True
    val_share: Fraction = 0.125
    seed: int = 0

    def fit(self, shift: Tensor, score: Tensor, distance: Tensor) -> tuple[Surrogate, Tensor, Tensor]:
        """Trains the network.

        Returns: the network; the share of the validation examples' variance that it explains [K+1] (scores, then
            distance); the validation loss before training and after each epoch, including those after the best one [T].

        Shapes: displacements [N,D], scores [N,K], distances [N].
        Raises: ValueError for fewer than two examples in either part, and for distances outside the sigmoid's range.
        """
        if not self.standardize and not (0 < float(distance.min()) and float(distance.max()) < 1):
            raise ValueError(
                "explainer.proxy.standardize=false puts a sigmoid on the distance, which must lie in (0,1), "
                f"got {float(distance.min()):.3g} to {float(distance.max()):.3g}: standardize=true, or explainer.lpips"
            )
        n_val = round(self.val_share * len(shift))
        if min(n_val, len(shift) - n_val) < 2:
            raise ValueError(
                f"proxy: val_share={self.val_share} of {len(shift)} examples leaves fewer than two to learn from or to "
                f"check on"
            )
        rng = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(shift), generator=rng)
        rows, held = order[n_val:], order[:n_val]
        shift, wanted = shift.double(), torch.cat([score, distance[:, None]], 1).double()
        model = Surrogate(
            shift.shape[1], self.widths, wanted.shape[1], self.activation, not self.standardize, rng
        ).double()
        if self.standardize:
            model.calibrate(
                shift[rows].std().clamp_min(1e-12), wanted[rows].mean(0), wanted[rows].std(0).clamp_min(1e-12)
            )
        scale = model.spread
        factor = torch.tensor(
            [self.weights[0]] * score.shape[1] + [self.weights[1] * score.shape[1]], dtype=torch.float64
        )  # MSE over all scores + that of the distance

        def loss(batch: Tensor) -> Tensor:
            return (((model(shift[batch]) - wanted[batch]) / scale).square().mean(0) * factor).sum() / score.shape[1]

        optimizer = torch.optim.AdamW(model.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        with torch.no_grad():
            best, kept = float(loss(held)), copy.deepcopy(model.state_dict())
        history, at_first = [], best
        least = self.least_steps / -(-len(rows) // self.batch)  # epochs
        with torch.enable_grad():
            for _ in range(self.n_epochs):
                for batch in rows[torch.randperm(len(rows), generator=rng)].split(self.batch):
                    optimizer.zero_grad()
                    loss(batch).backward()
                    optimizer.step()
                with torch.no_grad():
                    history.append(float(loss(held)))
                if history[-1] < best:
                    best, kept = history[-1], {name: value.clone() for name, value in model.state_dict().items()}
                if (
                    len(history) > max(self.patience, least)
                    and history[-1] > sum(history[-1 - self.patience : -1]) / self.patience
                ):
                    break
        model.load_state_dict(kept)
        with torch.no_grad():
            left = (model(shift[held]) - wanted[held]).square().mean(0)
        explained = 1 - left / wanted[held].var(0, correction=0).clamp_min(1e-12)
        return model, explained.float(), torch.tensor([at_first, *history])


class Surrogate(nn.Module):
    """The network: displacements [N,D] -> scores and distance [N,K+1], in their original units."""

    def __init__(
        self, n_inputs: int, widths: list[int], n_outputs: int, activation: str, squash: bool, rng: torch.Generator
    ) -> None:
        super().__init__()
        sizes = [n_inputs, *widths, n_outputs]
        self.layers = nn.ModuleList(nn.utils.skip_init(nn.Linear, a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        for layer in self.layers:  # as nn.Linear does it, but from its own generator
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound, generator=rng)
            nn.init.uniform_(layer.bias, -bound, bound, generator=rng)
        self.activation = {"sigmoid": torch.sigmoid, "silu": F.silu}[activation]
        self.squash = squash
        self.register_buffer("reach", torch.ones(()))
        self.register_buffer("centre", torch.zeros(n_outputs))
        self.register_buffer("spread", torch.ones(n_outputs))

    def calibrate(self, reach: Tensor, centre: Tensor, spread: Tensor) -> None:
        """Sets the units of inputs and outputs."""
        self.reach.copy_(reach), self.centre.copy_(centre), self.spread.copy_(spread)

    def forward(self, shift: Tensor) -> Tensor:
        x = shift.to(self.reach) / self.reach
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        x = self.layers[-1](x)
        if self.squash:
            x = torch.cat([x[:, :-1], x[:, -1:].sigmoid()], 1)
        return x * self.spread + self.centre


@torch.enable_grad()
def gradient(loss: nn.Module, n: int) -> Tensor:
    """The unit gradient [n] of loss([1,n]) -> scalar at displacement 0: a g-direction (eq. 3)."""
    center = torch.zeros(1, n, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(center), center)
    return on_grid(F.normalize(slope[0], dim=0))


@torch.enable_grad()
def curvature(loss: nn.Module, n: int, keep: int, without: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The h-directions (eq. 4): eigenvalues [keep] and unit eigenvectors [keep,n] of the Hessian at displacement 0,
    largest magnitudes first.

    Args: without: unit direction [n] that is projected out of the Hessian first; all eigenvectors are then orthogonal
        to it.
    """
    hessian = torch.autograd.functional.hessian(lambda shift: loss(shift[None]), torch.zeros(n, dtype=torch.float64))
    if without is not None:
        rest = torch.eye(n, dtype=torch.float64) - torch.outer(without.double(), without.double())
        hessian = rest @ hessian @ rest
    values, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    order = values.abs().argsort(descending=True, stable=True)[:keep]
    return values[order].float(), on_grid(vectors.T[order])


def on_grid(direction: Tensor) -> Tensor:
    """Rounds the entries of a unit direction to multiples of 2**-20, in float32, which removes differences of
    rounding."""
    return (direction * 2**20).round().float() / 2**20
