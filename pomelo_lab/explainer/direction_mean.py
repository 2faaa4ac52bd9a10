"""Directions of several source images as one search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def average(parts: Sequence[Mapping[str, Tensor]], n_h: int) -> dict[str, Tensor]:
    """Average the searches around several sources of one class: the mean of their unit g-directions, at unit
    length, and the largest eigenvectors of the mean of their Hessians, as far as each search kept those.

    Shares and probabilities are means, "moving" is the largest; the source, its position, its reconstruction and the
    losses are the first's.

    Args: parts: of `DirectionSearch`, a mapping per source; n_h: h-directions that are kept.
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
