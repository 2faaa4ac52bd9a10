"""Averages the directions of several source images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def average(parts: Sequence[Mapping[str, Tensor]], n_h: int) -> dict[str, Tensor]:
    """Averages the searches around several sources of one class.

    The g-directions are means of unit directions, at unit length. The h-directions are the largest eigenvectors of the
    mean Hessian, as far as each search kept its eigenvectors. Shares and probabilities are means, and "moving" is the
    largest. The source, its position, its reconstruction and the losses are those of the first search.

    Args:
        parts: one result of `DirectionSearch` per source.
        n_h: number of h-directions kept.
    """
    made = dict(parts[0])
    for name in ("g", "g_class"):
        made[name] = F.normalize(torch.stack([part[name] for part in parts]).mean(0), dim=-1)
    for name in ("class", "loss"):
        hessian = torch.stack([part[f"h_{name}"].T * part[f"e_{name}"] @ part[f"h_{name}"] for part in parts]).mean(0)
        values, vectors = torch.linalg.eigh(hessian.double())
        order = values.abs().argsort(descending=True, stable=True)[:n_h]
        made[f"e_{name}"], made[f"h_{name}"] = values[order].float(), vectors.T[order].float().contiguous()
    for name in ("explained", "left", "source_probability"):
        made[name] = torch.stack([part[name] for part in parts]).mean(0)
    made["moving"] = torch.stack([part["moving"] for part in parts]).amax(0)
    return made
