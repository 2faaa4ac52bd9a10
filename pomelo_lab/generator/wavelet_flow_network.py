"""Networks of the wavelet flow: Haar steps, couplings of details given the coarser image, principal components and
couplings of what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pomelo_lab.generator.glow_network import ActNorm, Mix, MixedNetwork, ZeroConv, bounded

LARGEST = 4.0  # largest log deviation of a detail given the coarser image, in its deviation over all images


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Means of 2x2 pixels [M,C,H/2,W/2] and the three orthonormal details [M,3C,H/2,W/2] of x [M,C,H,W].

    The log-determinant is -log(2) per value of the means, since means are half the orthonormal coefficient.
    """
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return (a + b + c + d) / 4, torch.cat([a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2


def inverse_haar(mean: Tensor, detail: Tensor) -> Tensor:
    """The inverse of `haar`: x [M,C,H,W] from means and details."""
    across, down, both = (detail / 2).chunk(3, 1)
    corners = [
        mean + across + down + both,
        mean - across + down - both,
        mean + across - down - both,
        mean - across - down + both,
    ]
    return F.pixel_shuffle(torch.stack(corners, 2).flatten(1, 2), 2)


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection; initialised to the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        nn.init.zeros_(self.net[3].weight)
        nn.init.zeros_(self.net[3].bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


class Context(nn.Module):
    """Features [M,width,H,W] of the coarse image [M,C,H,W]: residual blocks at its own and at half its resolution."""

    def __init__(self, channels: int, width: int, n_residual: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels + 2, width, 3, padding=1)
        self.before = nn.Sequential(*[Residual(width) for _ in range(n_residual)])
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle = nn.Sequential(*[Residual(2 * width) for _ in range(2 * n_residual)])
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.after = nn.Sequential(*[Residual(width) for _ in range(n_residual)])

    def forward(self, coarse: Tensor) -> Tensor:
        dtype, (height, width) = self.stem.weight.dtype, coarse.shape[2:]
        rows = (
            torch.linspace(-1, 1, height, device=coarse.device).view(1, 1, -1, 1).expand(len(coarse), 1, height, width)
        )
        columns = (
            torch.linspace(-1, 1, width, device=coarse.device).view(1, 1, 1, -1).expand(len(coarse), 1, height, width)
        )
        x = self.before(self.stem(torch.cat([coarse, rows, columns], 1).to(dtype)))
        return F.relu(self.after(x + self.up(self.middle(self.down(x)))))


class ConditionalCoupling(nn.Module):
    """The second part of the channels is scaled, within a bound, and shifted by a network of the first part and of the
    features."""

    def __init__(self, channels: int, features: int, hidden: int, bound: float) -> None:
        super().__init__()
        self.n_first, self.bound = channels // 2, bound
        self.own = nn.Conv2d(self.n_first, hidden, 3, padding=1)
        self.given = nn.Conv2d(features, hidden, 1)
        self.inner = nn.Conv2d(hidden, hidden, 1)
        self.out = ZeroConv(hidden, 2 * (channels - self.n_first))

    def change(self, a: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """(log scale, shift) of the second part."""
        x = F.relu(self.own(a.to(features.dtype)) + self.given(features))
        raw, shift = self.out(F.relu(self.inner(x))).float().chunk(2, 1)
        return bounded(raw, self.bound), shift

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x[:, : self.n_first], x[:, self.n_first :]
        log_scale, shift = self.change(a, features)
        return torch.cat([a, b * log_scale.exp() + shift], 1), log_scale.flatten(1).sum(1)

    def reverse(self, x: Tensor, features: Tensor) -> Tensor:
        a, b = x[:, : self.n_first], x[:, self.n_first :]
        log_scale, shift = self.change(a, features)
        return torch.cat([a, (b - shift) * (-log_scale).exp()], 1)


class DetailFlow(nn.Module):
    """Details [M,3C,H,W] <-> standard normal, given the coarse image: first a Gaussian of each value, then couplings on
    what it leaves."""

    def __init__(self, channels: int, width: int, hidden: int, n_residual: int, n_couplings: int, bound: float) -> None:
        super().__init__()
        details = 3 * channels
        self.norm = ActNorm(details)
        self.context = Context(channels, width, n_residual)
        self.gaussian = ZeroConv(width, 2 * details)
        self.mixes = nn.ModuleList(Mix(details) for _ in range(n_couplings))
        self.couplings = nn.ModuleList(ConditionalCoupling(details, width, hidden, bound) for _ in range(n_couplings))

    def condition(self, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(features, mean of the details, log deviation of the details), given the coarse image."""
        features = self.context(coarse)
        mean, raw = self.gaussian(features).float().chunk(2, 1)
        return features, mean, bounded(raw, LARGEST)

    def forward(self, detail: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        x, total = self.norm(detail)
        features, mean, log_sd = self.condition(coarse)
        x, total = (x - mean) * (-log_sd).exp(), total - log_sd.flatten(1).sum(1)
        for mix, coupling in zip(self.mixes, self.couplings, strict=True):
            x, mix_spread = mix(x)
            x, coupling_spread = coupling(x, features)
            total = total + mix_spread + coupling_spread
        return x, total

    def reverse(self, eps: Tensor, coarse: Tensor) -> Tensor:
        features, mean, log_sd = self.condition(coarse)
        x = eps
        for mix, coupling in zip(reversed(self.mixes), reversed(self.couplings), strict=True):
            x = mix.reverse(coupling.reverse(x, features))
        return self.norm.reverse(mean + x * log_sd.exp())


class Whitening(nn.Module):
    """Values [M,D] <-> their principal components, each of deviation 1: a linear map that is measured, not learned."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("axes", torch.eye(size))
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("inverse", torch.eye(size), persistent=False)
        self.register_buffer("spread", torch.zeros(()), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, _: module.freeze())

    def fit(self, values: Tensor, stored: torch.dtype) -> None:
        """Measure the map on values [M,D], M >= D. It is rounded to the precision in which files store it."""
        values = values.double()
        centred = values - values.mean(0)
        variance, axes = torch.linalg.eigh(centred.T @ centred / len(values))
        variance = variance.clamp_min(1e-7 * variance.max())  # fewer images than values, or values that never change
        for name, tensor in (("mean", values.mean(0)), ("axes", axes.flip(1)), ("scale", variance.flip(0).rsqrt())):
            getattr(self, name).copy_(tensor.to(stored))
        self.freeze()

    def freeze(self) -> None:
        """Compute the inverse and the log-determinant of the stored map."""
        axes = self.axes.double()
        self.inverse = torch.linalg.inv(axes).to(self.axes)
        self.spread = (torch.linalg.slogdet(axes)[1] + self.scale.double().log().sum()).to(self.axes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.mean) @ self.axes * self.scale, self.spread.expand(len(x))

    def reverse(self, z: Tensor) -> Tensor:
        return (z / self.scale) @ self.inverse + self.mean


class VectorCoupling(nn.Module):
    """Half of the values [M,K] is scaled, within a bound, and shifted by a network of the other half. A random order
    chooses the halves."""

    def __init__(self, size: int, hidden: int, bound: float) -> None:
        super().__init__()
        self.bound, self.n_first = bound, size // 2
        self.register_buffer("order", torch.randperm(size))
        layers = [
            nn.Linear(self.n_first, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * (size - self.n_first)),
        ]
        self.net = nn.Sequential(*layers)
        nn.init.zeros_(layers[-1].weight)
        nn.init.zeros_(layers[-1].bias)

    def change(self, a: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(a.to(self.net[0].weight.dtype)).float().chunk(2, 1)
        return bounded(raw, self.bound), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x[:, self.order].tensor_split([self.n_first], 1)
        log_scale, shift = self.change(a)
        return torch.cat([a, b * log_scale.exp() + shift], 1), log_scale.sum(1)

    def reverse(self, z: Tensor) -> Tensor:
        a, b = z.tensor_split([self.n_first], 1)
        log_scale, shift = self.change(a)
        return torch.cat([a, (b - shift) * (-log_scale).exp()], 1)[:, self.order.argsort()]


class CoarseFlow(nn.Module):
    """The coarsest image [M,C,S,S] <-> standard normals: principal components, the leading ones of which go through
    couplings."""

    def __init__(self, size: int, n_leading: int, hidden: int, n_couplings: int, bound: float) -> None:
        super().__init__()
        self.n_leading = n_leading
        self.whitening = Whitening(size)
        self.couplings = nn.ModuleList(VectorCoupling(n_leading, hidden, bound) for _ in range(n_couplings))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, total = self.whitening(x.flatten(1))
        leading, rest = z.tensor_split([self.n_leading], 1)
        for coupling in self.couplings:
            leading, spread = coupling(leading)
            total = total + spread
        return torch.cat([leading, rest], 1).view_as(x), total

    def reverse(self, eps: Tensor) -> Tensor:
        leading, rest = eps.flatten(1).tensor_split([self.n_leading], 1)
        for coupling in reversed(self.couplings):
            leading = coupling.reverse(leading)
        return self.whitening.reverse(torch.cat([leading, rest], 1)).view_as(eps)


class WaveletFlowNetwork(MixedNetwork):
    """x [M,C,S,S] -> (latents, log-determinants [M]) of each level, finest details first, or back."""

    def __init__(
        self,
        channels: int,
        size_px: int,
        levels: Sequence[tuple[int, int]],
        n_residual: int,
        n_couplings: int,
        coarse: tuple[int, int, int],
        bound: float,
    ) -> None:
        super().__init__()
        self.details = nn.ModuleList(
            DetailFlow(channels, width, hidden, n_residual, n_couplings, bound) for width, hidden in levels
        )
        self.coarse = CoarseFlow(channels * (size_px >> len(levels)) ** 2, *coarse, bound)

    def forward(self, x: Any, reverse: bool = False, shares: Sequence[float] | None = None) -> Any:
        """Map x to latents and log-determinants, or back.

        Args: shares: of the images that each level reads, finest first; a level reads the first of them. None = all.
        """
        if reverse:
            *details, coarse = x
            out = self.coarse.reverse(coarse)
            for flow, eps in zip(reversed(self.details), reversed(details), strict=True):
                out = inverse_haar(out, flow.reverse(eps, out))
            return out
        latents, spreads = [], []
        for level, flow in enumerate(self.details):
            x, detail = haar(x)
            n_rows = len(x) if shares is None else math.ceil(shares[level] * len(x))
            latent, spread = flow(
                *(part[:n_rows].contiguous(memory_format=torch.channels_last) for part in (detail, x))
            )
            latents.append(latent)
            spreads.append(spread - math.log(2) * x[0].numel())
        latent, spread = self.coarse(x)
        return [*latents, latent], [*spreads, spread]

    def coarsest(self, x: Tensor) -> Tensor:
        """The coarsest image of x, flattened: the input of the coarse flow, [M,D]."""
        for _ in self.details:
            x = haar(x)[0]
        return x.flatten(1)

    def cast(self, dtype: torch.dtype) -> None:
        """Put the networks into another precision; the flow itself stays float32."""
        for module in self.modules():
            if isinstance(module, (Context, ConditionalCoupling)):
                module.to(dtype)
            elif isinstance(module, VectorCoupling):
                module.net.to(dtype)
            elif isinstance(module, DetailFlow):
                module.gaussian.to(dtype)
