"""Conversions of published pipelines to maps before they are scored, to measure their effect on the scores."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Export = Literal["none", "uint8"]


def export_maps(maps: Tensor, how: Export, channels: int) -> Tensor:
    """Maps [B,H,W], which are sums over channels, as a pipeline exports them.

    "uint8" casts the mean over channels times 255 to 8 bits without scaling, as the baseline script of the InputIBA
    code does: small positive values are cut to few levels, and negative ones wrap around (-1/255 becomes 255/255).
    """
    if how == "none":
        return maps
    levels = (maps.double() / channels * 255).nan_to_num().trunc().long() % 256
    return (levels.double() / 255).to(maps.dtype).where(maps.isfinite(), maps)
