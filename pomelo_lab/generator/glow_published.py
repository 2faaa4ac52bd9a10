"""The published Glow of Dombrowski et al. (2021), which POMELO perturbs with, in this package's names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MARK = "blocks.0.flows.0.invconv.w_p"  # a name that only their files have
CONSTANT = ("u_mask", "l_mask", "l_eye")  # of their triangular matrices
RENAMED = {
    "actnorm.loc": "0.loc",
    "actnorm.initialized": "0.ready",
    "invconv.w_p": "1.permutation",
    "invconv.w_l": "1.lower",
    "invconv.w_s": "1.log_diagonal",
    "coupling.net.4.scale": "2.net.4.gain",
}


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the published names."""
    return MARK in state


def convert_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict converted to one of `GlowNetwork`, exactly.

    Source: Dombrowski et al. (2021), https://github.com/annahdo/counterfactuals, after
        https://github.com/rosinality/glow-pytorch. Their actnorm stores a scale, ours its logarithm: a negative scale
        turns the sign of its column of the 1x1 convolution that follows.
    """
    out = {}
    for name, value in state.items():
        block, _, rest = name.partition(".flows.")
        if not rest:  # a prior
            out[name.replace(".prior.scale", ".prior.gain")] = value
            continue
        number, _, part = rest.partition(".")
        start, sign = f"{block}.flows.{number}", state[f"{block}.flows.{number}.actnorm.scale"].sign().flatten()
        if part == "actnorm.scale":
            out[f"{start}.0.log_scale"] = value.abs().log()
        elif part == "invconv.w_u":
            out[f"{start}.1.upper"] = value.triu(1) * sign
        elif part == "invconv.s_sign":
            out[f"{start}.1.sign"] = value * sign
        elif part.rpartition(".")[2] not in CONSTANT:
            out[f"{start}.{RENAMED.get(part) or part.replace('coupling.', '2.')}"] = (
                value.tril(-1) if part == "invconv.w_l" else value
            )
    return {
        name: value.contiguous() if isinstance(value, Tensor) else torch.as_tensor(value) for name, value in out.items()
    }
