"""Networks of Glow: blocks of flow steps, and their layers. Each maps forwards with its log-determinant, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MixedNetwork(nn.Module):
    """A network with invertible 1x1 convolutions, whose matrices can be cached."""

    def freeze(self) -> None:
        """Cache the matrices of the 1x1 convolutions and their inverses, while the weights do not change."""
        for module in self.modules():
            if isinstance(module, Mix):
                module.freeze()

    def thaw(self) -> None:
        """Drop the cached matrices: each call computes them from the weights, as training needs."""
        for module in self.modules():
            if isinstance(module, Mix):
                module.cached = module.cached_inverse = None


class GlowNetwork(MixedNetwork):
    """Blocks of flow steps: x [M,C,H,W] -> (whitened latents, raw latents, log-determinant [M]), or back.

    Latents are lists with one entry per block, finest first.
    """

    def __init__(
        self, channels: int, n_flows: Sequence[int], hidden: Sequence[int], affine: bool, bound: float | None = None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for block, (steps, width) in enumerate(zip(n_flows, hidden, strict=True)):
            channels *= 4
            self.blocks.append(Block(channels, steps, width, affine, bound, split=block < len(hidden) - 1))
            channels //= 2

    def forward(self, x: Any, reverse: bool = False, whitened: bool = True) -> Any:
        if reverse:
            latents, out = x, None
            for block, latent in zip(reversed(self.blocks), reversed(latents), strict=True):
                out = block.reverse(out, latent, whitened)
            return out
        eps, raw, total = [], [], 0.0
        for block in self.blocks:
            x, whitened_part, raw_part, spread = block(x)
            eps.append(whitened_part)
            raw.append(raw_part)
            total = total + spread
        return eps, raw, total


class Block(nn.Module):
    """Squeeze, flow steps, and a split: half of the channels become latents, with a Gaussian prior given the other
    half."""

    def __init__(
        self, channels: int, n_flows: int, hidden: int, affine: bool, bound: float | None, split: bool
    ) -> None:
        super().__init__()
        self.split = split
        flows = [[ActNorm(channels), Mix(channels), Coupling(channels, hidden, affine, bound)] for _ in range(n_flows)]
        self.flows = nn.ModuleList(nn.ModuleList(flow) for flow in flows)
        leaves = channels // 2 if split else channels
        self.prior = ZeroConv(channels - leaves if split else channels, 2 * leaves)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, total = F.pixel_unshuffle(x, 2), 0.0
        for flow in self.flows:
            for layer in flow:
                x, spread = layer(x)
                total = total + spread
        x, z = x.chunk(2, 1) if self.split else (torch.zeros_like(x), x)
        mean, log_sd = self.prior(x).chunk(2, 1)
        return x, (z - mean) * (-log_sd).exp(), z, total - log_sd.flatten(1).sum(1)

    def reverse(self, x: Tensor | None, latent: Tensor, whitened: bool) -> Tensor:
        if whitened:
            mean, log_sd = self.prior(torch.zeros_like(latent) if x is None else x).chunk(2, 1)
            latent = mean + latent * log_sd.exp()
        out = latent if x is None else torch.cat([x, latent], 1)
        for flow in reversed(self.flows):
            for layer in reversed(flow):
                out = layer.reverse(out)
        return F.pixel_shuffle(out, 2)


class ActNorm(nn.Module):
    """Scale and shift per channel, set by the first training batch to zero mean and unit deviation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("ready", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.ready:
            with torch.no_grad():
                self.loc.copy_(-x.mean((0, 2, 3), keepdim=True))
                self.log_scale.copy_(-(x.std((0, 2, 3), keepdim=True) + 1e-6).log())
                self.ready.fill_(1)
        return self.log_scale.exp() * (x + self.loc), (self.log_scale.sum() * x.shape[2] * x.shape[3]).expand(len(x))

    def reverse(self, x: Tensor) -> Tensor:
        return x * (-self.log_scale).exp() - self.loc


class Mix(nn.Module):
    """Invertible 1x1 convolution. Its matrix is the product of a permutation, a lower and an upper triangle."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation.contiguous())
        self.register_buffer("sign", diagonal.sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.register_buffer("cached", None, persistent=False)
        self.register_buffer("cached_inverse", None, persistent=False)

    def matrix(self) -> Tensor:
        identity = torch.eye(len(self.lower), dtype=self.lower.dtype, device=self.lower.device)
        diagonal = torch.diag(self.sign.to(identity) * self.log_diagonal.exp())
        return self.permutation.to(identity) @ (self.lower.tril(-1) + identity) @ (self.upper.triu(1) + diagonal)

    def inverse(self) -> Tensor:
        return torch.linalg.inv(self.matrix().double()).to(self.lower.dtype)

    def freeze(self) -> None:
        self.cached, self.cached_inverse = self.matrix().detach(), self.inverse().detach()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        matrix = self.matrix() if self.cached is None else self.cached
        return F.conv2d(x, matrix[:, :, None, None]), (self.log_diagonal.sum() * x.shape[2] * x.shape[3]).expand(len(x))

    def reverse(self, x: Tensor) -> Tensor:
        matrix = self.inverse() if self.cached_inverse is None else self.cached_inverse
        return F.conv2d(x, matrix[:, :, None, None])


class Coupling(nn.Module):
    """The second half of the channels is shifted (and scaled) by a network of the first."""

    def __init__(self, channels: int, hidden: int, affine: bool, bound: float | None = None) -> None:
        super().__init__()
        self.affine, self.bound = affine, bound
        self.net = nn.Sequential(
            nn.Conv2d(channels // 2, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            ZeroConv(hidden, channels if affine else channels // 2),
        )
        for layer in (self.net[0], self.net[2]):
            nn.init.normal_(layer.weight, 0, 0.05)
            nn.init.zeros_(layer.bias)

    def change(self, a: Tensor) -> tuple[Tensor | None, Tensor]:
        """(log scale, shift) of the second half, given the first."""
        out = self.net(a.to(self.net[0].weight.dtype)).float()
        if not self.affine:
            return None, out
        raw, shift = out.chunk(2, 1)
        return F.logsigmoid(raw + 2) if self.bound is None else bounded(raw, self.bound), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        log_scale, shift = self.change(a)
        if log_scale is None:
            return torch.cat([a, b + shift], 1), x.new_zeros(len(x))
        return torch.cat([a, (b + shift) * log_scale.exp()], 1), log_scale.flatten(1).sum(1)

    def reverse(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        log_scale, shift = self.change(a)
        return torch.cat([a, (b if log_scale is None else b * (-log_scale).exp()) - shift], 1)


class ZeroConv(nn.Module):
    """3x3 convolution that starts at zero, with a learned gain per channel; ones around the border tell it where the
    image ends."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3)
        self.gain = nn.Parameter(torch.zeros(1, after, 1, 1))
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (1, 1, 1, 1), value=1.0)) * (3 * self.gain).exp()


def bounded(raw: Tensor, bound: float) -> Tensor:
    """A log scale in (-bound, bound), near 0 `raw` itself."""
    return bound * torch.tanh(raw / bound)
