"""Whether an optimiser had converged when it stopped."""

from __future__ import annotations

import torch
from torch import Tensor

LIMIT = 0.02  # a run is called moving if its last tenth holds more than this share of its change


def record(loss: Tensor) -> dict[str, Tensor]:
    """The extras that every optimising explainer stores: `loss`, its objective before each step, and `moving`.

    The result is empty for a run of fewer than two steps, for which convergence is undefined.

    Shapes: loss [B,T] -> loss [B,T], moving [B].
    """
    if loss.shape[-1] < 2:
        return {}
    loss = loss.detach().float()
    return {"loss": loss, "moving": still_moving(loss)}


def still_moving(loss: Tensor) -> Tensor:
    """The share of the whole change of the loss that falls into the last tenth of the steps.

    The mean loss of the last tenth is compared with that of the tenth before it, and their difference is divided by the
    range of such means over the run; means of a tenth let the noise of sampled losses cancel. A straight descent has
    1/9, an exponential one of five time constants 0.007.

    Shapes: loss [B,T] -> [B] in [0,1]; 0 where the loss never changed. NaN stays NaN. Raises: ValueError for fewer than
        two steps.
    """
    steps = loss.shape[-1]
    if steps < 2:
        raise ValueError(f"convergence needs the loss of at least 2 steps, got {steps}")
    size = max(1, steps // 10)
    first = steps % size  # whole windows that end at the last step
    means = loss[:, first:].unflatten(-1, (-1, size)).mean(-1)
    span = means.amax(-1) - means.amin(-1)
    change = (means[:, -1] - means[:, -2]).abs()
    return torch.where(span == 0, torch.zeros_like(span), change / span)
